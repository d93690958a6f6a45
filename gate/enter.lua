-- Decides whether a call may be made while the breaker is not closed.
--
-- KEYS[3] refused   hash of the snapshots that were refused with a code of the account
-- ARGV[2] action    create | describe | probe: a Describe that checks the account
-- ARGV[3] snapshot  id of the snapshot of a create, else ""
-- ARGV[4] lease     ms after which a trial without a report is over
-- Returns {"go", pass, ms to wait first}, with an empty pass where all calls of that
-- action are allowed; {"probe", pass, TaskID, SdkAppId}; or {"stopped"}.
local action = ARGV[2]
local cause, probe, next_at, trial_until, ramp, ramp_at, pass =
  get('cause', 'probe', 'next_trial_at', 'trial_until', 'ramp', 'ramp_at', 'pass')

local polling_allowed = cause == 'storm' or cause == 'account' and probe ~= 'describe'
if action == 'describe' and (not cause or polling_allowed) or action == 'create' and not cause then
  return {'go', '', 0}
end
if not cause or cause == 'person' or (action == 'probe') ~= (cause == 'account' and probe == 'describe') then
  return {'stopped'}
end
if ramp then
  local at = math.max(NOW, tonumber(ramp_at))
  if at - NOW > 2 * SECOND then
    return {'stopped'}
  end
  set('ramp_at', at + math.floor(SECOND / ramp))
  return {'go', pass, at - NOW}
end
if NOW < tonumber(next_at) or trial_until and NOW < tonumber(trial_until) then
  return {'stopped'}
end
-- A room that was refused before proves little: for five seconds other rooms go first.
if NOW < next_at + 5 * SECOND and redis.call('HEXISTS', KEYS[3], ARGV[3]) == 1 then
  return {'stopped'}
end
local task, app = unpack(redis.call('HMGET', GATE, 'task_id', 'task_app'))
if action == 'probe' and not task then
  set('probe', 'create', 'feed', 1, 'feed_from', NOW) -- Redis has lost the newest task
  return {'stopped'}
end
pass = tostring(issue_pass())
set('trial_until', NOW + ARGV[4])
if action == 'probe' then
  return {'probe', pass, task, app}
end
set('feed_from', NOW + ARGV[4] + SECOND)
return {'go', pass, 0}
