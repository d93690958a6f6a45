-- Cancels a snapshot, unless it is accepted: a task cannot be called back.
--
-- ARGV[5] room JSON, for a snapshot that has no record yet
-- ARGV[6] ...  its words, each as its hash and an entry, see index
-- Returns the state after it: "canceled"; "sending" if a request is on its
-- way, after which it will be canceled unless that is accepted; or the state
-- that stands, or "gone" if the batch has no such row.
local state = get('state') or packed_state()
redis.call('ZREM', IN_FLIGHT, ID)
if state == 'accepted' or ENDED[state] then
  return state
end
if state == 'sending' then
  set('cancel', 1)
  return state
end
if not state then
  if canceled_unfed() then
    return 'canceled'
  end
  local total, fed, paused = unpack(redis.call('HMGET', BATCH, 'total', 'fed', 'paused'))
  if ROW and ROW > tonumber(total or 0) then
    return 'gone'
  end
  if fed and ROW > tonumber(fed) then
    -- So that it is neither fed nor counted once more. "ahead" is how many there are.
    redis.call('HSET', ROWS, 'canceled:' .. ROW, 1)
    redis.call('HINCRBY', BATCH, 'ahead', 1)
    redis.call('HINCRBY', TOTALS, paused and 'waiting_paused' or 'waiting', -1)
  end
  create(ARGV[5])
  for i = 6, #ARGV, 2 do
    index(ARGV[i], ARGV[i + 1])
  end
end
transition(state, 'canceled')
return 'canceled'
