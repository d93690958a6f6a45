-- Adds requests to the history of a rate limit: three ring buffers of slots, for 15 minutes, a day and a week. A slot
-- of an earlier round of the ring is reset, so that a ring never grows. Requests that are older than a ring are
-- skipped.
--
-- KEYS[1..3]  hash: index of the slot in the ring -> "slot sent refused limit"; slot is the number of slots since 1970
-- KEYS[4]     idempotency key of this call: exists for ten minutes after it, and a repeated call does nothing
-- ARGV[1]     current limit, requests per second
-- ARGV[2..4]  seconds per slot of each ring
-- ARGV[5..7]  slots of each ring
-- ARGV[8...]  three values for each group of requests:
--             time     of the requests (Unix s)
--             sent     number of requests, including rejected ones
--             refused  number of requests that the API rejected because of its rate limit
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
