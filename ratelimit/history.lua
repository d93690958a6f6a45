-- Adds the requests of some seconds to the history of a limit: three rings of slots, for a quarter of an hour,
-- a day and a week. A slot that was last used a turn of the ring ago begins anew, so that a ring never grows.
--
-- KEYS[1..3]  hash: number of the slot in the ring -> "slot sent refused limit", the slot counted since 1970
-- ARGV[1]     sent     requests, refused ones included
-- ARGV[2]     refused  of them, those beyond the quota
-- ARGV[3]     limit    in force
-- ARGV[4..6]  seconds of a slot
-- ARGV[7..9]  slots of the ring
-- Returns nothing.
local now = tonumber(redis.call('TIME')[1])
for i = 1, 3 do
  local slot = math.floor(now / tonumber(ARGV[3 + i]))
  local field = string.format('%d', slot % tonumber(ARGV[6 + i]))
  local was, sent, refused = string.match(redis.call('HGET', KEYS[i], field) or '', '^(%d+) (%d+) (%d+) ')
  if tonumber(was) ~= slot then
    sent, refused = 0, 0
  end
  redis.call('HSET', KEYS[i], field, string.format('%d %d %d %d',
    slot, tonumber(sent) + tonumber(ARGV[1]), tonumber(refused) + tonumber(ARGV[2]), tonumber(ARGV[3])))
end
