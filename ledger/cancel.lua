-- Cancels a snapshot, unless it is accepted: the API cannot cancel a task.
--
-- ARGV[5] room JSON, for a snapshot that has no record yet
-- ARGV[6] ...  words of the room, each as its hash and an entry, see index
-- Returns the state after that: "canceled"; "sending" if a request is in progress,
-- after which the snapshot is canceled unless the request is accepted; or else the
-- unchanged state; or "gone" if the batch has no such row.
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
    -- So that it is neither fed nor counted again. "ahead" counts these rows.
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
