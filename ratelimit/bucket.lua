-- One call to the bucket of one API action: take in what the caller reports, then perhaps reserve permits
-- for it. README.md explains the model, why it is exact, and how it adapts.
--
-- All times and durations are whole microseconds; instants are on this server's clock (TIME).
--
-- KEYS[1]  zset: permit id -> a second after its use, at the latest
-- KEYS[2]  hash:
--            epoch             instant at which this bucket was made; its identity
--            seq               permits reserved since then
--            server            the Redis server that wrote this, as a number; 0: it does not tell
--            tokens            members of KEYS[1] after the last call
--            opens_at          no permit is for an instant before this one
--            limit             permits in any second, where it was set by hand
--            asked_period      the half minute of the last call of a worker, since 1970,
--            asked_low, asked_high                the lowest and highest limit that workers were configured for in it,
--            asked_low_before, asked_high_before  and in the half minute before it
--            bulk_at           instant of the latest permit that is not urgent
--            urgent_at         instant of the latest urgent one
--            urgent_streak     urgent permits since the last other one
--            spread_until      until when the others are spread over the second
--            margin
--            last_raise        how much the margin was raised last; taken back if others turn out to spend
--            raised_at         when that was
--            margin_refund     what was taken back so, and is given again when the whole limit turns out to be there
--            margin_learned    1: a raise has stood; before, the margin is a guess
--            proven_limit      what others leave of the limit, as far as it has proved itself; 0: all of it
--            current_limit     the same at the moment; above proven_limit: it is being tried
--            limit_at_refusal  current_limit at the first of the refusals of a second
--            failed_limit      the lowest above proven_limit that did not prove itself; 0: none known
--            trial_step        how far the next trial goes up: by one, or to the limit if the last one went well
--            next_trial_at     when the trial is over, or the next begins
--            trial_pause       time between a trial that has failed and the next
--            ignore_until      uses up to this instant were decided before the last lesson and teach nothing new
--            peak_minute       the minute of the last report, since 1970,
--            peak              uses in its peak second,
--            peak_before       and in that of the minute before it
-- KEYS[3]  zset, the line: process -> when it is to come back
-- KEYS[4]  zset: id of a refused permit -> a second after its use
--
-- ARGV[1]  limit      as the caller is configured: permits in any second
-- ARGV[2]  floor      the least margin
-- ARGV[3]  validity   how long after its instant a permit may be in use
-- ARGV[4]  spacing    least time between two permits
-- ARGV[5]  epoch, and
-- ARGV[6]  seq, as the caller saw them last; 0: it has seen no bucket yet
-- ARGV[7]  name of the calling process, which begins the ids of its permits
-- ARGV[8]  1: it does not stand in line any more
-- ARGV[9]  1: those that are not urgent are to be spread over the second
-- ARGV[10] 1: the permits to reserve are urgent
-- ARGV[11] number of the first one
-- ARGV[12] how many to reserve; the ids are NAME-NUMBER, NAME-NUMBER+1, ...
-- ARGV[13] distance   the shortest round trip of the caller, or less
-- ARGV[14] 1: the caller is a worker, so that its limit counts; else only where there is none
-- ARGV[15] lowest     limit of a worker as the caller saw it last; 0: it has seen none
-- ARGV[16], ARGV[17], ...  reports: permit id, time since its use; -1: it was not and will not be used;
--                          -2: it was refused
--
-- Returns {now, epoch, seq, limit, current_limit, margin, used, peak, tokens out, lowest and highest limit of
-- the workers, again, at...}: how many permits were used in the last second and in the peak second of this
-- minute and the last, what workers were configured for in the last minute (0: there was none), when to come
-- back (0: no permit was refused), and the instants of the permits reserved.

local SECOND, MS = 1000000, 1000
local NEAR = 50 * MS         -- how far ahead of its instant a permit is reserved
local LATE = 200 * MS        -- who comes back later than this has left the line
local RUN = 9                -- urgent permits in a row while others wait
local SPREAD_ASKED = 5 * SECOND -- how long others are spread after somebody has asked for it,
local SPREAD_URGENT = 600 * SECOND -- and after an urgent permit
local HISTORY = 3 * SECOND   -- how long after their return tokens are remembered
local MARGIN_MAX = 100 * MS
local MARGIN_FIRST = 32 * MS -- of a new bucket, if the floor is not higher
local FIRST_DECAY = 0.0075   -- part of what is above the floor, for each use while it is a guess
local FIRST_RAISE = 15 * MS  -- of a margin at its floor, or nearly so
local RAISE = 5 * MS         -- of a higher one
local DECAY = RAISE * 0.0015 -- for each use: so about this part of them is refused in the end
local ISOLATED = 2 * SECOND  -- a lesson about the margin stands if no other follows within this
local PAUSE_MIN, PAUSE_MAX = 3 * SECOND, 7 * SECOND -- after a trial that has failed
local ASKED = 30 * SECOND    -- a limit that workers are configured for counts in its period and the next
local DISTANCE_MAX = 250 * MS
local TWO_MASTERS = SECOND   -- how much longer than another process this one may stay with an old master

local limit, floor, validity, spacing = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known_epoch, known_seq = tonumber(ARGV[5]), tonumber(ARGV[6])
local name, leaves, spread, is_urgent = ARGV[7], ARGV[8] == '1', ARGV[9] == '1', ARGV[10] == '1'
local number, wanted = tonumber(ARGV[11]), tonumber(ARGV[12])
local distance, works = math.min(tonumber(ARGV[13]), DISTANCE_MAX), ARGV[14] == '1'
local known_lowest = tonumber(ARGV[15])

-- Who only looks is answered, too, where Redis takes no writes.
local write = redis.call
if wanted == 0 and #ARGV < 16 and not leaves and not spread then write = redis.pcall end

local t = redis.call('TIME')
local now = t[1] * SECOND + t[2]

local fields = {'epoch', 'seq', 'server', 'tokens', 'opens_at', 'limit',
  'asked_period', 'asked_low', 'asked_high', 'asked_low_before', 'asked_high_before',
  'bulk_at', 'urgent_at', 'urgent_streak', 'spread_until',
  'margin', 'last_raise', 'raised_at', 'margin_refund', 'margin_learned',
  'proven_limit', 'current_limit', 'limit_at_refusal', 'failed_limit', 'trial_step', 'next_trial_at', 'trial_pause',
  'ignore_until', 'peak_minute', 'peak', 'peak_before'}
local h = {}
for i, v in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
  h[fields[i]] = tonumber(v or 0)
end

local lost = h.epoch == 0 or h.epoch == known_epoch and h.seq < known_seq
  or redis.call('ZCARD', KEYS[1]) ~= h.tokens -- state is missing, and where nobody knows of any this is a first start

-- What another server wrote may be old here: a replica that was promoted lacks the newest tokens, and meanwhile
-- the old master may give more of them to others.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return id and tonumber(string.sub(id, 1, 12), 16) or 0
end
local server = run_id()
local moved = h.server ~= 0 and server ~= 0 and h.server ~= server
if server ~= 0 then h.server = server end

-- The limit is the one set by hand, or else the lowest that a worker is configured for.
local function lower(a, b) return (a == 0 or b == 0) and math.max(a, b) or math.min(a, b) end
local period = math.floor(now / ASKED)
if period ~= h.asked_period then
  local recent = period <= h.asked_period + 1 -- or the clock was set back
  h.asked_low_before, h.asked_high_before = recent and h.asked_low or 0, recent and h.asked_high or 0
  h.asked_period, h.asked_low, h.asked_high = period, 0, 0
end
if works then
  h.asked_low, h.asked_high = lower(h.asked_low, limit), math.max(h.asked_high, limit)
end
if known_epoch ~= 0 and (lost or h.epoch ~= known_epoch) then
  h.asked_low, h.asked_high = lower(h.asked_low, known_lowest), math.max(h.asked_high, known_lowest)
end
local lowest, highest = lower(h.asked_low, h.asked_low_before), math.max(h.asked_high, h.asked_high_before)
if h.limit > 0 then
  limit = h.limit
elseif lowest > 0 then
  limit = lowest
end

spacing = math.min(spacing, math.floor(SECOND / 4 / limit))
if h.proven_limit == 0 or h.proven_limit >= limit then h.proven_limit, h.current_limit = limit, limit end
h.current_limit = math.min(h.current_limit, limit)
h.margin = math.max(h.margin, floor)

local horizon = SECOND + h.margin + NEAR -- how far ahead an urgent permit may be
local near = NEAR + 3 * distance -- how far ahead another may be: the answer and the intent take a trip each
-- No token is ever out for longer, in the eyes of whoever. The margin may be lost with the rest.
local longest = SECOND + MARGIN_MAX + NEAR + validity + SECOND + MARGIN_MAX + DISTANCE_MAX
local shut = moved and longest + TWO_MASTERS or longest

local function instant(i) return string.format('%.0f', i) end
local function count(key, from, to) -- scores between the two
  return redis.call('ZCOUNT', key, '(' .. instant(from), to and '(' .. instant(to) or '+inf')
end

-- The server's clock may have been set back: nothing is later than it can be.
if h.bulk_at > now + horizon then h.bulk_at = now end
if h.urgent_at > now + horizon then h.urgent_at = now end
h.spread_until = math.min(h.spread_until, now + SPREAD_URGENT)
h.opens_at = math.min(h.opens_at, now + longest + TWO_MASTERS)
h.raised_at, h.ignore_until = math.min(h.raised_at, now), math.min(h.ignore_until, now + horizon)
if h.last_raise > 0 and now - h.raised_at > ISOLATED then h.last_raise, h.margin_learned = 0, 1 end
h.next_trial_at = math.min(h.next_trial_at, now + PAUSE_MAX)
local beyond = '(' .. instant(now + longest)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], beyond, '+inf')) do
  write('ZADD', KEYS[1], now + longest, member)
end
write('ZREMRANGEBYSCORE', KEYS[3], beyond, '+inf')

-- Where state is missing, permits may have been used just now and others may
-- be out, unknown to this bucket: it stays shut until all of them are history.
if h.epoch == 0 then h.margin = math.max(h.margin, MARGIN_FIRST) end
if h.epoch == 0 and known_epoch == 0 then
  -- Nothing here and nobody remembers anything: most likely a first start.
  h.epoch, h.opens_at = now, now + SECOND + h.margin
elseif lost or moved then
  h.epoch, h.seq, h.opens_at = now, math.max(h.seq, known_seq), now + shut
elseif known_epoch ~= 0 and h.epoch ~= known_epoch then
  -- The caller remembers a bucket that was lost before this one was made.
  h.opens_at = math.max(h.opens_at, h.epoch + longest)
end

-- Trials of a higher limit that are over, and those that begin.
while h.proven_limit < limit and h.next_trial_at <= now do
  h.next_trial_at = math.max(h.next_trial_at, now - 60 * SECOND)
  local ended = h.current_limit > h.proven_limit
  if ended then
    h.proven_limit, h.trial_step = h.current_limit, limit
    if h.proven_limit >= h.failed_limit then h.failed_limit = 0 end
    if h.proven_limit == limit and h.margin_refund > 0 then
      h.margin, h.margin_refund, h.margin_learned = math.min(MARGIN_MAX, h.margin + h.margin_refund), 0, 1
    end
  end
  if ended and h.proven_limit + 1 == h.failed_limit then
    h.trial_step, h.next_trial_at = 1, h.next_trial_at + h.trial_pause
  else
    h.current_limit = math.min(limit, h.proven_limit + h.trial_step)
    if h.failed_limit > h.proven_limit + 1 then h.current_limit = math.min(h.current_limit, h.failed_limit - 1) end
    h.next_trial_at = h.next_trial_at + SECOND + h.margin + 2 * NEAR
  end
end

-- refused learns from the refusal of a permit.
local function refused(permit)
  local ends = redis.call('ZSCORE', KEYS[1], permit)
  if not ends then return end
  write('ZADD', KEYS[4], ends, permit)
  ends = tonumber(ends)
  -- What was sent in the second before, and what of it was accepted.
  local from = ends - SECOND - (h.margin - h.last_raise)
  local before = count(KEYS[1], from, ends)
  local others = count(KEYS[4], from, ends)
  local new = ends - SECOND > h.ignore_until
  if others == 0 then h.limit_at_refusal = h.current_limit end
  if h.current_limit > h.proven_limit then
    -- The trial has failed. What it got through stays.
    h.proven_limit = math.max(h.proven_limit, math.min(h.current_limit - 1, before - others))
    h.failed_limit, h.current_limit, h.trial_step = h.current_limit, h.proven_limit, 1
    h.trial_pause = math.min(2 * h.trial_pause, PAUSE_MAX)
    h.next_trial_at = now + h.trial_pause
  elseif new and others == 0 and before >= h.current_limit - 1 and now - h.raised_at > ISOLATED then
    -- We have used no more than what was left, so it may have been the way there.
    h.last_raise = h.margin > floor + MS and RAISE or FIRST_RAISE
    h.margin = math.min(MARGIN_MAX, h.margin + h.last_raise)
    h.raised_at = now
  elseif new or others >= (h.proven_limit == limit and 2 or 1) then
    -- Somebody else spends.
    local left = h.current_limit
    if new then left = left - 1 end
    if others >= 1 then left = math.min(left, math.max(before - others, math.floor(h.limit_at_refusal / 3))) end
    h.margin_refund = math.max(h.margin_refund, h.last_raise)
    h.margin, h.last_raise, h.raised_at = math.max(floor, h.margin - h.last_raise), 0, now
    h.failed_limit, h.proven_limit = h.current_limit, math.max(1, left)
    h.current_limit, h.trial_step, h.trial_pause = h.proven_limit, 1, PAUSE_MIN
    h.next_trial_at = now + h.trial_pause
  end
  h.ignore_until = math.max(now, h.bulk_at, h.urgent_at) + NEAR / 2 + distance -- permits are used a little late
end

local minute = math.floor(now / (60 * SECOND))
if minute ~= h.peak_minute then
  h.peak_before = minute == h.peak_minute + 1 and h.peak or 0
  h.peak_minute, h.peak = minute, 0
end
for i = 16, #ARGV, 2 do
  local permit, age = ARGV[i], tonumber(ARGV[i + 1])
  if age >= 0 then
    local ends = now - age + SECOND
    write('ZADD', KEYS[1], ends, permit)
    h.peak = math.max(h.peak, count(KEYS[1], ends - SECOND, ends + 1))
    local guess = h.margin_learned == 0 and h.last_raise == 0
    h.margin = math.max(floor, h.margin - (guess and FIRST_DECAY * (h.margin - floor) or DECAY))
  elseif age == -1 then
    write('ZREM', KEYS[1], permit)
  else
    refused(permit)
  end
end
write('ZREMRANGEBYSCORE', KEYS[1], '-inf', instant(now - HISTORY))
write('ZREMRANGEBYSCORE', KEYS[4], '-inf', instant(now - HISTORY))
write('ZREMRANGEBYSCORE', KEYS[3], '-inf', instant(now - LATE))
if leaves then write('ZREM', KEYS[3], name) end
if spread then h.spread_until = math.max(h.spread_until, now + SPREAD_ASKED) end

-- returns_at is a second after the use of the token that leaves limit - 1 out. The caller's own uses are
-- exact on its own clock: neither its report nor our answer makes them late, as they do those of others, so
-- the caller may have its own tokens again a round trip sooner than they seem to end here.
local function returns_at(rank)
  local ends = tonumber(redis.call('ZREVRANGE', KEYS[1], rank, rank, 'WITHSCORES')[2] or 0)
  if distance == 0 or ends + h.margin <= now then return ends end
  local from, to = ends - distance, ends + distance
  local near_it = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. instant(from), instant(to), 'WITHSCORES')
  local all = {}
  for i = 1, #near_it, 2 do
    local own = string.sub(near_it[i], 1, #name + 1) == name .. '-'
    all[#all + 1] = tonumber(near_it[i + 1]) - (own and distance or 0)
  end
  table.sort(all, function(a, b) return a > b end)
  return all[rank + 1 - count(KEYS[1], to)]
end

-- free returns when a token is free after n others have been taken: surely, and if all permits are used at
-- their instants.
local function free(n)
  local ends = returns_at(h.current_limit - 1 - n % h.current_limit)
  local surely = math.max(h.opens_at, ends + h.margin) + math.floor(n / h.current_limit) * (SECOND + h.margin)
  return surely, ends > now + SECOND and surely - validity or surely
end

local ats, again = {}, 0
local function reserve(at)
  local id = name .. '-' .. instant(number + #ats)
  ats[#ats + 1] = at
  h.seq = h.seq + 1
  write('ZADD', KEYS[1], at + validity + SECOND, id)
end

for i = 0, wanted - 1 do
  write('ZREM', KEYS[1], name .. '-' .. instant(number + i)) -- the same call may come twice
end
if wanted > 0 and is_urgent then
  for _ = 1, wanted do
    local at = math.max(free(0), now, h.urgent_at + spacing)
    if h.urgent_streak >= RUN and redis.call('ZCARD', KEYS[3]) > 0 then
      again = math.max(now, free(0) - near) + NEAR / 10 -- after one of those in line
    elseif at - now > horizon then
      again = at - NEAR
    end
    if again > 0 then break end
    h.urgent_at, h.urgent_streak, h.spread_until = at, h.urgent_streak + 1, now + SPREAD_URGENT
    reserve(at)
  end
elseif wanted > 0 then
  local gap = spacing
  local others = h.proven_limit < limit -- so that a refusal is known before much more is on its way
  if others then near = near - NEAR / 2 end
  if others or now < h.spread_until then
    gap = math.max(gap, math.floor(0.9 * (SECOND + h.margin) / h.current_limit))
  end
  local before = redis.call('ZRANK', KEYS[3], name) or redis.call('ZCARD', KEYS[3])
  for _ = 1, wanted do
    local surely, likely = free(before)
    local turn = h.bulk_at + (before + 1) * gap
    if math.max(surely, turn) - now > near then
      if #ats == 0 then again = math.max(now + NEAR / 4, math.max(likely, turn) - near) end
      break
    end
    h.bulk_at, h.urgent_streak = math.max(free(0), now, h.bulk_at + gap), 0
    reserve(h.bulk_at)
  end
  if again > 0 then
    write('ZADD', KEYS[3], again, name)
  else
    write('ZREM', KEYS[3], name)
  end
end

h.tokens = redis.call('ZCARD', KEYS[1])
local current_limit = h.current_limit
if h.proven_limit == limit then h.proven_limit, h.current_limit = 0, 0 end
local set = {}
for _, field in ipairs(fields) do
  if field ~= 'limit' then
    set[#set + 1] = field
    set[#set + 1] = instant(h[field])
  end
end
write('HSET', KEYS[2], unpack(set))
return {now, h.epoch, h.seq, limit, current_limit, math.floor(h.margin), count(KEYS[1], now, now + SECOND + 1),
  math.max(h.peak, h.peak_before), count(KEYS[1], now - h.margin), lowest, highest, math.floor(again), unpack(ats)}
