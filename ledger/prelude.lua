-- Common part of the ledger's scripts; it is put in front of each of them.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Moves one snapshot from one state to another in the counters of its batch
-- and ends the batch with its last snapshot. rows and batch expire retention
-- ms after that. It is called only where a state has just been changed, so
-- that the counters move exactly once for each change.
local function count(batch, rows, from, to, now, retention)
  if redis.call('EXISTS', batch) == 0 then
    return
  end
  if from and from ~= 'queued' then
    redis.call('HINCRBY', batch, from, -1)
  end
  if to ~= 'queued' then
    redis.call('HINCRBY', batch, to, 1)
  end
  local n = redis.call('HMGET', batch, 'total', 'succeeded', 'failed', 'canceled', 'ended_at')
  if not n[5] and (n[2] or 0) + (n[3] or 0) + (n[4] or 0) >= tonumber(n[1]) then
    redis.call('HSET', batch, 'ended_at', now)
    redis.call('PEXPIRE', batch, retention)
    redis.call('PEXPIRE', rows, retention)
  end
end

-- Notes that one more request of a snapshot has made a task, or may have: its
-- outcome is unknown. Every one after the first is a possible duplicate.
local function may_have_made_task(snapshot, batch, totals)
  if redis.call('HINCRBY', snapshot, 'made', 1) > 1 then
    redis.call('HINCRBY', totals, 'possible_duplicates', 1)
    if redis.call('EXISTS', batch) == 1 then
      redis.call('HINCRBY', batch, 'possible_duplicates', 1)
    end
  end
end

local ended = {succeeded = true, failed = true, canceled = true}
