-- One call to the bucket of one API action: processes the reports of the caller, then reserves permits for it.
-- README.md explains the model, its proof, and how it adapts. Urgent permits are those of interactive waiters,
-- the others are bulk permits.
--
-- All times and durations are whole microseconds; instants are on this server's clock (TIME).
--
-- KEYS[1]  zset, tokens: permit id -> latest time at which its use is one second ago
-- KEYS[2]  hash:
--            epoch             time at which this bucket was created; identifies it
--            seq               permits reserved since then
--            server            the Redis server that wrote this, as a number; 0: unknown
--            tokens            members of KEYS[1] after the last call
--            opens_at          earliest instant of a permit
--            limit             limit set by hand, permits in any second; 0: none
--            asked_period      number of the half minute (since 1970) of the last call,
--            asked_low, asked_high                lowest and highest configured limit of the workers in it,
--            asked_low_before, asked_high_before  and in the half minute before it
--            bulk_at           instant of the latest bulk permit
--            urgent_at         instant of the latest urgent permit
--            urgent_streak     urgent permits since the last bulk permit
--            spread_until      until when bulk permits are spread over the second
--            margin            safety margin that is added to the second
--            last_raise        last raise of the margin; taken back if other clients turn out to be the cause
--            raised_at         time of the last raise
--            margin_refund     raise that was taken back; restored when the whole limit is available
--            margin_learned    1: a raise was kept; 0: the margin is a guess
--            proven_limit      available rate that trials have confirmed; 0: the whole limit
--            current_limit     limit that applies now; above proven_limit: a trial is running
--            limit_at_refusal  current_limit at the first rejection within a second
--            failed_limit      lowest limit above proven_limit that failed a trial; 0: none
--            trial_step        increase in the next trial: 1, or up to the limit after a successful trial
--            next_trial_at     end of the running trial, or start of the next
--            trial_pause       time between a failed trial and the next
--            ignore_until      rejections of uses up to this instant do not change the limit again
--            peak_minute       number of the minute (since 1970) of the last call,
--            peak              uses in the peak second of that minute,
--            peak_before       and of the minute before it
-- KEYS[3]  zset, the queue for bulk permits: process -> when it calls again
-- KEYS[4]  zset: id of a rejected permit -> one second after its use
--
-- ARGV[1]  limit      configured limit of the caller, permits in any second
-- ARGV[2]  floor      lower bound of the margin
-- ARGV[3]  validity   time after its instant in which a permit may be used
-- ARGV[4]  spacing    shortest time between two permits
-- ARGV[5]  epoch      in the latest answer to the caller; 0: none yet
-- ARGV[6]  seq        in the latest answer to the caller; 0: none yet
-- ARGV[7]  name       of the calling process, prefix of the ids of its permits
-- ARGV[8]  1: the caller leaves the queue
-- ARGV[9]  1: spread bulk permits over the second
-- ARGV[10] 1: the permits to reserve are urgent
-- ARGV[11] number of the first permit to reserve
-- ARGV[12] permits to reserve; their ids are NAME-NUMBER, NAME-NUMBER+1, ...
-- ARGV[13] distance   shortest recent round trip of the caller, or less
-- ARGV[14] 1: the caller is a worker; else its limit applies only if there is no worker
-- ARGV[15] lowest     limit of a worker in the latest answer to the caller; 0: none
-- ARGV[16], ARGV[17], ...  reports: permit id, time since its use; -1: it was not and will not be used;
--                          -2: it was refused
--
-- Returns {now, epoch, seq, limit, current_limit, margin, used, peak, tokens out, lowest and highest limit of
-- the workers, again, at...}. used is the number of permits used in the last second, peak that of the peak
-- second of this minute and the last. lowest and highest are the configured limits of the workers of the last
-- minute (0: there was none). again is when to call again (0: no permit was denied). The rest are the instants
-- of the reserved permits.

local SECOND, MS = 1000000, 1000
local NEAR = 50 * MS         -- how long before its instant a bulk permit is reserved
local LATE = 200 * MS        -- a process that calls later than this loses its place in the queue
local RUN = 9                -- urgent permits in a row while the queue is not empty
local SPREAD_ASKED = 5 * SECOND -- how long bulk permits are spread on request,
local SPREAD_URGENT = 600 * SECOND -- and after an urgent permit
local HISTORY = 3 * SECOND   -- how long tokens are kept after their return
local MARGIN_MAX = 100 * MS
local MARGIN_FIRST = 32 * MS -- margin of a new bucket, unless the floor is higher
local FIRST_DECAY = 0.0075   -- decay of a guessed margin for each use, as a part of what is above the floor
local FIRST_RAISE = 15 * MS  -- raise of a margin at its floor or within 1 ms of it
local RAISE = 5 * MS         -- raise of a higher margin
local DECAY = RAISE * 0.0015 -- for each use: in the end about this part of requests is rejected
local ISOLATED = 2 * SECOND  -- a raise is kept if no other rejection follows within this time
local PAUSE_MIN, PAUSE_MAX = 3 * SECOND, 7 * SECOND -- after a failed trial
local ASKED = 30 * SECOND    -- period in which configured limits are collected; they also apply in the next
local DISTANCE_MAX = 250 * MS
local TWO_MASTERS = SECOND   -- how long processes may use an old master after another has left it

local limit, floor, validity, spacing = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known_epoch, known_seq = tonumber(ARGV[5]), tonumber(ARGV[6])
local name, leaves, spread, is_urgent = ARGV[7], ARGV[8] == '1', ARGV[9] == '1', ARGV[10] == '1'
local number, wanted = tonumber(ARGV[11]), tonumber(ARGV[12])
local distance, is_worker = math.min(tonumber(ARGV[13]), DISTANCE_MAX), ARGV[14] == '1'
local known_lowest = tonumber(ARGV[15])

-- A call that only reads also succeeds while Redis refuses writes.
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
  or redis.call('ZCARD', KEYS[1]) ~= h.tokens -- state is missing; if no process knows of any, this is a first start

-- State that another server wrote may be stale: a promoted replica lacks the newest tokens, and meanwhile the old
-- master may reserve more for other processes.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return id and tonumber(string.sub(id, 1, 12), 16) or 0
end
local server = run_id()
local moved = h.server ~= 0 and server ~= 0 and h.server ~= server
if server ~= 0 then h.server = server end

-- The limit is the one set by hand, or else the lowest configured limit of a worker.
local function lower(a, b) return (a == 0 or b == 0) and math.max(a, b) or math.min(a, b) end
local period = math.floor(now / ASKED)
if period ~= h.asked_period then
  local recent = period <= h.asked_period + 1 -- or the clock was set back
  h.asked_low_before, h.asked_high_before = recent and h.asked_low or 0, recent and h.asked_high or 0
  h.asked_period, h.asked_low, h.asked_high = period, 0, 0
end
if is_worker then
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

local horizon = SECOND + h.margin + NEAR -- how long before its instant an urgent permit may be reserved
local near = NEAR + 3 * distance -- the same for a bulk permit, which needs round trips for the answer and the intent
-- No token is ever out for longer, from the view of any process. The margin may be lost with the other state.
local longest = SECOND + MARGIN_MAX + NEAR + validity + SECOND + MARGIN_MAX + DISTANCE_MAX
local closed_for = moved and longest + TWO_MASTERS or longest

local function instant(i) return string.format('%.0f', i) end
local function count(key, from, to) -- number of scores in (from, to)
  return redis.call('ZCOUNT', key, '(' .. instant(from), to and '(' .. instant(to) or '+inf')
end

-- The clock of the server may have been set back: bound all stored times by the latest possible value.
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

-- If state is missing, the bucket does not know of permits that were just used or are still out. It is closed
-- until all of them have expired.
if h.epoch == 0 then h.margin = math.max(h.margin, MARGIN_FIRST) end
if h.epoch == 0 and known_epoch == 0 then
  -- There is no state and the caller knows of none: most likely a first start.
  h.epoch, h.opens_at = now, now + SECOND + h.margin
elseif lost or moved then
  h.epoch, h.seq, h.opens_at = now, math.max(h.seq, known_seq), now + closed_for
elseif known_epoch ~= 0 and h.epoch ~= known_epoch then
  -- The caller knows a bucket that was lost before this one was created.
  h.opens_at = math.max(h.opens_at, h.epoch + longest)
end

-- End and start trials of a higher limit.
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

-- refused adapts margin and limit to the rejection of a permit by the API.
local function refused(permit)
  local ends = redis.call('ZSCORE', KEYS[1], permit)
  if not ends then return end
  write('ZADD', KEYS[4], ends, permit)
  ends = tonumber(ends)
  -- Requests in the second before, and how many of them were rejected.
  local from = ends - SECOND - (h.margin - h.last_raise)
  local before = count(KEYS[1], from, ends)
  local others = count(KEYS[4], from, ends)
  local new = ends - SECOND > h.ignore_until
  if others == 0 then h.limit_at_refusal = h.current_limit end
  if h.current_limit > h.proven_limit then
    -- The trial failed. The rate that was accepted during it is confirmed.
    h.proven_limit = math.max(h.proven_limit, math.min(h.current_limit - 1, before - others))
    h.failed_limit, h.current_limit, h.trial_step = h.current_limit, h.proven_limit, 1
    h.trial_pause = math.min(2 * h.trial_pause, PAUSE_MAX)
    h.next_trial_at = now + h.trial_pause
  elseif new and others == 0 and before >= h.current_limit - 1 and now - h.raised_at > ISOLATED then
    -- We used no more than the available rate, so jitter on the way to the API may be the cause.
    h.last_raise = h.margin > floor + MS and RAISE or FIRST_RAISE
    h.margin = math.min(MARGIN_MAX, h.margin + h.last_raise)
    h.raised_at = now
  elseif new or others >= (h.proven_limit == limit and 2 or 1) then
    -- Other clients use a part of the limit.
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

-- returns_at returns one second after the use of the token with this rank, the latest being rank 0. The caller
-- knows its own uses exactly by its own clock. The delay of reports and answers affects only the tokens of other
-- processes. So its own tokens return a round trip sooner for the caller. See README.md.
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

-- free returns when a token is free after n others were taken: at the latest, and if all permits are used at their
-- instants.
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
  write('ZREM', KEYS[1], name .. '-' .. instant(number + i)) -- a repeated call
end
if wanted > 0 and is_urgent then
  for _ = 1, wanted do
    local at = math.max(free(0), now, h.urgent_at + spacing)
    if h.urgent_streak >= RUN and redis.call('ZCARD', KEYS[3]) > 0 then
      again = math.max(now, free(0) - near) + NEAR / 10 -- after a process in the queue
    elseif at - now > horizon then
      again = at - NEAR
    end
    if again > 0 then break end
    h.urgent_at, h.urgent_streak, h.spread_until = at, h.urgent_streak + 1, now + SPREAD_URGENT
    reserve(at)
  end
elseif wanted > 0 then
  local gap = spacing
  local others = h.proven_limit < limit -- other clients use a part; reserve later, so that a rejection is known sooner
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
