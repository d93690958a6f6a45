-- Records the outcome of a call, and moves the breaker and the suspension of the
-- application accordingly.
--
-- KEYS[3] refused     hash of snapshot id to the count of accepted requests at its
--                     refusal and the code of the account that refused it
-- KEYS[4] apps        hash of SdkAppId to its accepted requests
-- KEYS[5] suspended   sorted set of suspended SdkAppIds by their next step (ms)
-- KEYS[6] suspension  hash of this SdkAppId: code, message and request_id of the
--                     refusal; since (ms), trial (the snapshot that may be sent) and
--                     trials (failed ones) while it is suspended; failed_at (ms) once
--                     its rooms fail
-- ARGV[2]  action     create | describe | probe
-- ARGV[3]  pass       of the permit
-- ARGV[4]  snapshot   id of the snapshot of a create, else ""
-- ARGV[5]  SdkAppId
-- ARGV[6]  outcome    accepted   a task was made
--                     answered   Tencent has answered: a Describe succeeded, or the
--                                room was refused
--                     failed     Tencent has answered with an error of its own
--                     silent     sent, but Tencent has not answered
--                     unreached  not sent: no connection
--                     account    refused for the account
--                     app        refused for the SdkAppId
--                     quota      refused for a quota of the account
--                     gateway    refused by Tencent's gateway: rate limit or clock
--                     none       the call was not made
-- ARGV[7]  code
-- ARGV[8]  message
-- ARGV[9]  RequestId
-- ARGV[10] TaskID
-- ARGV[11] suspend    longest suspension of an SdkAppId that has worked (ms)
-- Returns whom the outcome concerns: "room"; "everybody"; or "room alone" if the room
-- should fail with this code of the account because other rooms are accepted.
local REFUSED, APPS, SUSPENDED, SUSPENSION = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local action, pass, id, app, outcome = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local code, message, request_id = ARGV[7], ARGV[8], ARGV[9]

local cause, valid_pass, ramp, since, trials, quota = get('cause', 'pass', 'ramp', 'since', 'trials', 'quota')
local is_current = cause and pass ~= '' and pass == valid_pass -- a trial, or part of the ramp
local is_trial = is_current and not ramp

local function weaker(than)
  return not cause or STRENGTH[cause] < STRENGTH[than]
end

local function trial_failed()
  wait_for_trial(trials + 1)
end

-- Makes another trial due at once.
local function allow_new_trial()
  redis.call('HDEL', BREAKER, 'trial_until')
  set('next_trial_at', NOW)
  if get('probe') ~= 'describe' then
    set('feed', 1, 'feed_from', NOW + SECOND)
  end
end

-- Records the outcome of this room in the window; failed is "1" or "0". Returns how
-- many rooms in a row have failed, and how many of the last 40: 0 until there are 40.
-- The newest outcome of a room replaces its older one, so one room counts once. The
-- window has the oldest first, each as "1ID" or "0ID".
local function record_outcome(failed)
  local outcomes, streak, bad = {}, 0, 0
  for outcome in string.gmatch(redis.call('HGET', GATE, 'window') or '', '%S+') do
    if string.sub(outcome, 2) ~= id then
      outcomes[#outcomes + 1] = outcome
    end
  end
  outcomes[#outcomes + 1] = failed .. id
  if #outcomes > 40 then
    table.remove(outcomes, 1)
  end
  redis.call('HSET', GATE, 'window', table.concat(outcomes, ' '))
  for i = 1, #outcomes do
    if string.sub(outcomes[i], 1, 1) == '1' then
      streak, bad = streak + 1, bad + 1
    else
      streak = 0
    end
  end
  return streak, #outcomes == 40 and bad or 0
end

-- Raises the rate after a storm: 1 request a second, then 5, then no limit.
local function ramp_up()
  if not ramp then
    redis.call('HDEL', BREAKER, 'trial_until', 'next_trial_at')
    set('ramp', 1, 'ramp_at', NOW + SECOND, 'ramp_good', 1, 'ramp_bad', 0, 'feed', 5, 'feed_from', NOW)
    return
  end
  local good = redis.call('HINCRBY', BREAKER, 'ramp_good', 1)
  if good >= 10 then
    close()
  elseif good >= 3 then
    set('ramp', 5)
  end
end

-- An answer of Tencent shows that it can be reached and does not refuse the account.
-- Only an accepted request shows that a storm is over: a refused one may not have
-- reached the part that failed.
local function trial_succeeded()
  if is_current and cause == 'storm' then
    if outcome == 'accepted' then
      ramp_up()
    elseif is_trial then
      allow_new_trial()
    end
  elseif is_current then
    close()
  end
end

-- Reports whether the snapshot was refused with this code before, and other requests
-- were accepted since then. If not, it records the refusal. accepted is the count of
-- accepted requests.
local function refused_alone(accepted)
  accepted = tonumber(accepted or 0)
  local n, before = string.match(redis.call('HGET', REFUSED, id) or '', '^(%d+) (.*)$')
  if before == code and accepted > tonumber(n) then
    redis.call('HDEL', REFUSED, id)
    return true
  end
  if before ~= code then
    if redis.call('HLEN', REFUSED) >= 10000 then
      redis.call('DEL', REFUSED)
    end
    redis.call('HSET', REFUSED, id, accepted .. ' ' .. code)
    redis.call('PEXPIRE', REFUSED, DAY * SECOND)
  end
  return false
end

local app_since, app_trial, app_trials = unpack(redis.call('HMGET', SUSPENSION, 'since', 'trial', 'trials'))
local is_app_trial = id ~= '' and app_trial == id

-- Schedules the next trial of the application.
local function schedule_app_trial(seconds)
  redis.call('HDEL', SUSPENSION, 'trial')
  redis.call('ZADD', SUSPENDED, NOW + seconds * SECOND, app)
  count('version')
end

-- Ends the suspension: the rooms that wait for the application are due for release.
local function release_app()
  redis.call('DEL', SUSPENSION)
  redis.call('ZADD', SUSPENDED, NOW, app)
  count('version')
end

-- Suspends the application, or after a failed trial decides how it goes on.
local function suspend_app()
  if app_since and not is_app_trial then
    return
  end
  redis.call('PERSIST', SUSPENSION)
  redis.call('HSET', SUSPENSION, 'code', code, 'message', message, 'request_id', request_id)
  if not app_since then
    redis.call('HSET', SUSPENSION, 'since', NOW, 'trials', 0)
    schedule_app_trial(15)
    return
  end
  app_trials = redis.call('HINCRBY', SUSPENSION, 'trials', 1)
  local worked = redis.call('HEXISTS', APPS, app) == 1
  if worked and NOW - app_since < tonumber(ARGV[11]) or not worked and app_trials < 3 then
    schedule_app_trial(({MINUTE, 3 * MINUTE})[app_trials] or 5 * MINUTE)
    return
  end
  -- Rooms that were enqueued until now fail. Later ones are tried anew.
  redis.call('HSET', SUSPENSION, 'failed_at', NOW)
  redis.call('HDEL', SUSPENSION, 'since', 'trials')
  redis.call('PEXPIRE', SUSPENSION, 7 * DAY * SECOND)
  schedule_app_trial(0)
end

if outcome == 'none' then
  if is_trial then
    allow_new_trial()
  end
  if is_app_trial then
    schedule_app_trial(15)
  end
  return 'everybody'
end

if is_app_trial and outcome ~= 'accepted' and outcome ~= 'answered' and outcome ~= 'app' then
  schedule_app_trial(15)
end
if outcome ~= 'unreached' then
  redis.call('HDEL', GATE, 'unreached')
end

if outcome == 'unreached' then
  local n = count('unreached')
  if action ~= 'probe' and n >= 5 and weaker('connection') then
    open('connection', code, message, request_id, app)
    wait_for_trial(0)
  elseif is_trial then
    trial_failed()
  end
  return 'everybody'
end

if action == 'probe' then
  if is_current and (outcome == 'answered' or outcome ~= 'account' and request_id ~= '') then
    -- Describe works again. One Create is the next trial.
    set('probe', 'create')
    allow_new_trial()
  elseif is_current then
    if outcome == 'account' then
      redis.call('HDEL', BREAKER, 'doubt_since')
    else
      redis.call('HSETNX', BREAKER, 'doubt_since', NOW)
      if NOW - get('doubt_since') >= 10 * MINUTE * SECOND then
        set('probe', 'create')
      end
    end
    trial_failed()
  end
  return 'everybody'
end

if outcome == 'gateway' and action == 'create' and cause ~= 'connection' then
  if is_trial then
    allow_new_trial()
  end
  return 'everybody'
end

if outcome == 'answered' or outcome == 'gateway' or action == 'describe' then
  if is_app_trial and outcome == 'answered' then
    release_app()
  end
  if action == 'create' or is_current and cause == 'connection' then
    trial_succeeded()
  end
  return 'room'
end

if outcome == 'accepted' then
  count('accepted')
  redis.call('HSET', GATE, 'task_id', ARGV[10], 'task_app', app)
  record_outcome('0')
  redis.call('HINCRBY', APPS, app, 1)
  redis.call('HDEL', REFUSED, id)
  if app_since then
    release_app()
  else
    redis.call('DEL', SUSPENSION)
  end
  trial_succeeded()
  return 'room'
end

if outcome == 'failed' or outcome == 'silent' then
  local streak, bad = record_outcome('1')
  if not cause then
    if streak < 10 and bad <= 20 then
      return 'room'
    end
    open('storm', code, message, request_id, app)
    wait_for_trial(0)
    return 'everybody'
  end
  if is_current and (cause == 'connection' or cause == 'account' and outcome == 'failed') then
    close()
  elseif is_current and ramp then
    local ramp_bad = redis.call('HINCRBY', BREAKER, 'ramp_bad', 1)
    if ramp_bad >= 3 and ramp_bad > tonumber(get('ramp_good')) then
      wait_for_trial(tonumber(trials))
    end
  elseif is_current then
    trial_failed()
  end
  -- After a day of a storm failures count again, so that every room ends.
  if is_current and cause == 'storm' and NOW - since > DAY * SECOND then
    return 'room'
  end
  return 'everybody'
end

if outcome == 'app' then
  if refused_alone(redis.call('HGET', APPS, app)) then
    if is_app_trial then
      schedule_app_trial(0)
    end
    trial_succeeded()
    return 'room alone'
  end
  suspend_app()
  trial_succeeded()
  return 'everybody'
end

if outcome == 'account' and refused_alone(redis.call('HGET', GATE, 'accepted')) then
  if is_trial then
    allow_new_trial()
  end
  return 'room alone'
end

if is_trial and cause == 'account' and (outcome == 'quota') == (quota == '1') then
  trial_failed() -- also if a Describe has succeeded before
elseif weaker('account') or is_trial and cause == 'account' then
  open('account', code, message, request_id, app)
  local known = redis.call('HEXISTS', GATE, 'task_id') == 1
  if outcome == 'quota' then
    set('quota', 1, 'probe', 'create')
  else
    set('probe', known and 'describe' or 'create')
  end
  wait_for_trial(0)
end
return 'everybody'
