-- Adds requests to the history of a limit: three rings of slots, for a quarter of an hour, a day and a week.
-- A slot that was last used a turn of the ring ago begins anew, so that a ring never grows. What is older
-- than the ring is left out of it.
--
-- KEYS[1..3]  hash: number of the slot in the ring -> "slot sent refused limit", the slot counted since 1970
-- KEYS[4]     exists for ten minutes once these requests have been added: if they come again they are ignored
-- ARGV[1]     limit    in force
-- ARGV[2..4]  seconds of a slot
-- ARGV[5..7]  slots of the ring
-- ARGV[8], ARGV[9], ARGV[10], ARGV[11], ...
--             time     when the next requests were sent, in Unix seconds,
--             sent     how many, refused ones included,
--             refused  and how many of them were beyond the quota
-- Returns nothing.
if not redis.call('SET', KEYS[4], '', 'NX', 'PX', 600000) then
  return
end
local now = tonumber(redis.call('TIME')[1])
for i = 1, 3 do
  local seconds, slots = tonumber(ARGV[1 + i]), tonumber(ARGV[4 + i])
  local oldest = math.floor(now / seconds) - slots + 1
  for a = 8, #ARGV, 3 do
    local slot = math.floor(tonumber(ARGV[a]) / seconds)
    if slot >= oldest then
      local field = string.format('%d', slot % slots)
      local was, sent, refused = string.match(redis.call('HGET', KEYS[i], field) or '', '^(%d+) (%d+) (%d+) ')
      if tonumber(was) ~= slot then
        sent, refused = 0, 0
      end
      redis.call('HSET', KEYS[i], field, string.format('%d %d %d %d',
        slot, tonumber(sent) + tonumber(ARGV[a + 1]), tonumber(refused) + tonumber(ARGV[a + 2]), tonumber(ARGV[1])))
    end
  end
end
