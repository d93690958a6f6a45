-- Takes in the outcome of a call, and judges it.
--
-- KEYS[3] refused     hash of the snapshots that a code of the account has refused
-- KEYS[4] apps        hash of SdkAppId to how many requests were accepted
-- KEYS[5] suspended   sorted set of suspended SdkAppIds by when they go on (ms)
-- KEYS[6] suspension  hash of this SdkAppId
-- ARGV[2]  action     create | describe | probe
-- ARGV[3]  pass       of the permit
-- ARGV[4]  snapshot   its id, of a create
-- ARGV[5]  SdkAppId
-- ARGV[6]  outcome    accepted   a task was made
--                     answered   Tencent has answered, and nothing else is known
--                     failed     Tencent has answered that it failed
--                     silent     sent, and not answered by Tencent
--                     unreached  nothing was sent: there was no connection
--                     account    refused for the account
--                     app        refused for the SdkAppId
--                     quota      refused for a quota of the account
--                     gateway    refused before Tencent looked at it
--                     none       the call was not made
-- ARGV[7]  code
-- ARGV[8]  message
-- ARGV[9]  RequestId
-- ARGV[10] TaskID
-- ARGV[11] suspend    ms that an SdkAppId which has worked is suspended for
-- Returns whom the outcome concerns: "room", "everybody", or "room alone" where
-- a code of the account is the room's own and it should fail with it.
local REFUSED, APPS, SUSPENDED, SUSPENSION = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local action, pass, id, app, outcome = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local code, message, request_id = ARGV[7], ARGV[8], ARGV[9]

local cause, valid_pass, ramp, since, trials, quota = get('cause', 'pass', 'ramp', 'since', 'trials', 'quota')
local mine = cause and pass ~= '' and pass == valid_pass -- of the trial, or of the ramp
local trial = mine and not ramp

local function weaker(than)
  return not cause or STRENGTH[cause] < STRENGTH[than]
end

local function trial_failed()
  wait_for_trial(trials + 1)
end

-- Lets another call be the trial, at once.
local function trial_is_free()
  redis.call('HDEL', BREAKER, 'trial_until')
  set('next_trial_at', NOW)
  if get('probe') ~= 'describe' then
    set('feed', 1, 'feed_from', NOW + SECOND)
  end
end

-- Notes the outcome of this room, in the place of the one before, and returns how
-- many rooms in a row have failed, and how many of the last 40: 0 while there are
-- fewer. So one room counts once, however often it is tried. The oldest is first,
-- each as "1ID" or "0ID"; 1 is a failure.
local function note(failed)
  local outcomes, row, bad = {}, 0, 0
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
      row, bad = row + 1, bad + 1
    else
      row = 0
    end
  end
  return row, #outcomes == 40 and bad or 0
end

-- Lets more calls go after a storm: 1 a second, then 5, then all.
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

-- Something that Tencent has answered shows that it can be reached, and is not
-- said to an account that is refused. Only a request that is accepted shows that
-- a storm is over: what is refused may never have come to where that is.
local function works()
  if mine and cause == 'storm' then
    if outcome == 'accepted' then
      ramp_up()
    elseif trial then
      trial_is_free()
    end
  elseif mine then
    close()
  end
end

-- Reports whether the snapshot was refused by this code before, with others
-- accepted since then. If not, it is noted.
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

-- The application.

local app_since, app_trial, app_trials = unpack(redis.call('HMGET', SUSPENSION, 'since', 'trial', 'trials'))
local is_app_trial = id ~= '' and app_trial == id

local function schedule_app_trial(seconds)
  redis.call('HDEL', SUSPENSION, 'trial')
  redis.call('ZADD', SUSPENDED, NOW + seconds * SECOND, app)
  count('version')
end

local function release_app()
  redis.call('DEL', SUSPENSION)
  redis.call('ZADD', SUSPENDED, NOW, app)
  count('version')
end

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
  -- What was enqueued until now fails. What comes later is asked for anew.
  redis.call('HSET', SUSPENSION, 'failed_at', NOW)
  redis.call('HDEL', SUSPENSION, 'since', 'trials')
  redis.call('PEXPIRE', SUSPENSION, 7 * DAY * SECOND)
  schedule_app_trial(0)
end

if outcome == 'none' then
  if trial then
    trial_is_free()
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
  elseif trial then
    trial_failed()
  end
  return 'everybody'
end

if action == 'probe' then
  if mine and (outcome == 'answered' or outcome ~= 'account' and request_id ~= '') then
    -- In order, as far as a Describe tells: one Create is the test.
    set('probe', 'create')
    trial_is_free()
  elseif mine then
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
  if trial then
    trial_is_free()
  end
  return 'everybody'
end

if outcome == 'answered' or outcome == 'gateway' or action == 'describe' then
  if is_app_trial and outcome == 'answered' then
    release_app()
  end
  if action == 'create' or mine and cause == 'connection' then
    works()
  end
  return 'room'
end

if outcome == 'accepted' then
  count('accepted')
  redis.call('HSET', GATE, 'task_id', ARGV[10], 'task_app', app)
  note('0')
  redis.call('HINCRBY', APPS, app, 1)
  redis.call('HDEL', REFUSED, id)
  if app_since then
    release_app()
  else
    redis.call('DEL', SUSPENSION)
  end
  works()
  return 'room'
end

if outcome == 'failed' or outcome == 'silent' then
  local row, bad = note('1')
  if not cause then
    if row < 10 and bad <= 20 then
      return 'room'
    end
    open('storm', code, message, request_id, app)
    wait_for_trial(0)
    return 'everybody'
  end
  if mine and (cause == 'connection' or cause == 'account' and outcome == 'failed') then
    close()
  elseif mine and ramp then
    local worse = redis.call('HINCRBY', BREAKER, 'ramp_bad', 1)
    if worse >= 3 and worse > tonumber(get('ramp_good')) then
      wait_for_trial(tonumber(trials))
    end
  elseif mine then
    trial_failed()
  end
  -- A storm of a day is none: what still fails then should end.
  if mine and cause == 'storm' and NOW - since > DAY * SECOND then
    return 'room'
  end
  return 'everybody'
end

if outcome == 'app' then
  if refused_alone(redis.call('HGET', APPS, app)) then
    if is_app_trial then
      schedule_app_trial(0)
    end
    works()
    return 'room alone'
  end
  suspend_app()
  works()
  return 'everybody'
end

if outcome == 'account' and refused_alone(redis.call('HGET', GATE, 'accepted')) then
  if trial then
    trial_is_free()
  end
  return 'room alone'
end

if trial and cause == 'account' and (outcome == 'quota') == (quota == '1') then
  trial_failed() -- also where Describe said before that all was in order
elseif weaker('account') or trial and cause == 'account' then
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
