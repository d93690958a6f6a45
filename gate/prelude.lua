-- Common part of the gate's scripts, prepended to each of them.
--
-- KEYS[1] breaker  hash that exists while the breaker is not closed:
--                  cause          storm | connection | account | person
--                  since, code, message, request_id, app, by  of what opened it
--                  quota          1 if the code is that of a quota
--                  probe          describe | create: the trial of an account
--                  pass           the only valid pass
--                  trials         failed trials
--                  next_trial_at, trial_until  of the trials (ms)
--                  feed, feed_from  how many rooms the feeder sends for trials, and
--                                 from when (ms)
--                  ramp, ramp_at  rate of requests after a storm (1/s), and the time
--                                 of the next one (ms)
--                  ramp_good, ramp_bad  outcomes during the ramp
--                  doubt_since    since when probes have no clear result (ms)
-- KEYS[2] gate     hash that outlives it:
--                  passes, accepted, version  counters of passes, accepted requests
--                                 and changes of suspensions
--                  unreached      requests in a row that could not connect
--                  window         outcomes of the last 40 rooms, see report.lua
--                  task_id, task_app  the newest task
--                  app_trial_at   the earliest time of the next trial of an application (ms)
-- ARGV[1] second   ms that a second of the gate's own schedule lasts
local BREAKER, GATE, SECOND = KEYS[1], KEYS[2], tonumber(ARGV[1])

local t = redis.call('TIME')
local NOW = t[1] * 1000 + math.floor(t[2] / 1000)

local MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60 -- in seconds
local STRENGTH = {storm = 1, connection = 2, account = 3, person = 4}

local function get(...)
  return unpack(redis.call('HMGET', BREAKER, ...))
end

local function set(...)
  redis.call('HSET', BREAKER, ...)
end

local function count(field)
  return redis.call('HINCRBY', GATE, field, 1)
end

-- Issues a pass. From now on it is the only valid one.
local function issue_pass()
  local pass = count('passes')
  set('pass', pass)
  return pass
end

-- Returns the seconds until the next trial: trials have failed so far, and the
-- breaker has been open for age seconds.
local function interval(cause, quota, trials, age)
  local first, most = 1, 8
  if cause == 'connection' then
    most = age < 10 * MINUTE and 8 or 30
  elseif cause == 'storm' then
    most = age < 10 * MINUTE and 15 or age < HOUR and 30 or math.min(15 * MINUTE, age / 120)
  elseif quota then
    first, most = MINUTE, 5 * MINUTE
  else
    first, most = 2, MINUTE
  end
  return math.min(most, first * 2 ^ math.min(trials, 16))
end

-- Keeps the breaker open until its next trial.
local function wait_for_trial(trials)
  local cause, since, quota, probe = get('cause', 'since', 'quota', 'probe')
  local next_at = NOW + math.floor(SECOND * interval(cause, quota, trials, (NOW - since) / SECOND))
  redis.call('HDEL', BREAKER, 'trial_until', 'ramp', 'ramp_at', 'ramp_good', 'ramp_bad', 'feed_from')
  set('trials', trials, 'next_trial_at', next_at)
  issue_pass()
  if probe ~= 'describe' then
    set('feed', 1, 'feed_from', next_at + SECOND) -- unless a room arrives before
  end
end

-- Opens the breaker with a new cause.
local function open(cause, code, message, request_id, app)
  redis.call('DEL', BREAKER)
  set('cause', cause, 'since', NOW, 'code', code, 'message', message, 'request_id', request_id, 'app', app)
end

local function close()
  redis.call('DEL', BREAKER)
  redis.call('HDEL', GATE, 'unreached', 'window')
end
