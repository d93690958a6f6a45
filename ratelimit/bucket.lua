-- One call to the bucket of one API action: take in what the caller reports,
-- then perhaps reserve permits for it.
--
-- All times and durations are whole microseconds; instants are on this
-- server's clock (TIME). A token is out from the reservation of its permit
-- until a second plus the margin after its use, which is when a request was
-- written. While the use is not reported it is taken to be at the last instant
-- for which there is time.
--
-- The margin follows how much the way to the API varies, the level what others
-- leave of the limit; both learn from refusals (see Limiter). An urgent caller
-- reserves the next token at once. Others reserve shortly ahead only and until
-- then stand in line, so that the next token is never far from an urgent one.
--
-- KEYS[1]  zset: permit id -> a second after its use
-- KEYS[2]  hash:
--            born    instant at which this bucket was made; its identity
--            seq     permits reserved since then
--            tokens  members of KEYS[1] after the last call
--            last    instant of the latest permit that is not urgent
--            urgent  instant of the latest urgent one
--            run     urgent permits since the last other one
--            spread  until when the others are spread over the second
--            opens   no permit is for an instant before this one
--            limit   permits in any second, where it was set by hand
--            margin
--            raise   how much it was raised last; taken back if others turn
--                    out to spend, and then
--            owed    given again when the whole limit turns out to be there
--            raised  when that was
--            learned 1: a raise has stood; before, the margin is a guess
--            good    the level that has proved itself; absent or 0: the limit
--            level   the level at the moment; above good: it is being tried
--            base    the level at the first of the refusals of a second
--            failed  the lowest level above good that did not prove itself;
--                    0: none known
--            step    how far it goes up in the next trial: by one, or to the
--                    limit if the last one went well
--            turn    when the trial is over, or the next begins
--            pause   time between a trial that has failed and the next
--            blind   uses up to this instant were decided before the last
--                    lesson and teach nothing new
--            minute  the one of the last report, since 1970,
--            fullest uses in the fullest second of that minute, and
--            before  of the minute before it
-- KEYS[3]  zset, the line: process -> when it is to come back
-- KEYS[4]  zset: id of a refused permit -> a second after its use
--
-- ARGV[1]  limit      as configured: permits in any second
-- ARGV[2]  floor      the least margin
-- ARGV[3]  validity   how long after its instant a permit may be in use
-- ARGV[4]  spacing    least time between two permits
-- ARGV[5]  born, and
-- ARGV[6]  seq, as the caller saw them last; 0: it has seen no bucket yet
-- ARGV[7]  name of the calling process, which begins the ids of its permits
-- ARGV[8]  1: it does not stand in line any more
-- ARGV[9]  1: those that are not urgent are to be spread over the second
-- ARGV[10] 1: the permits to reserve are urgent
-- ARGV[11] number of the first one
-- ARGV[12] how many to reserve; the ids are NAME-NUMBER, NAME-NUMBER+1, ...
-- ARGV[13], ARGV[14], ...  reports: permit id, time since its use; -1: it was
--                          not and will not be used; -2: it was refused
--
-- Returns {now, born, seq, limit, level, margin, used, fullest, tokens out,
-- again, at...}: how many permits were used in the last second and in the
-- fullest second of this minute and the last, when to come back (0: no permit
-- was refused), and the instants of the permits reserved.

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

local limit, floor, validity, spacing = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known_born, known_seq = tonumber(ARGV[5]), tonumber(ARGV[6])
local name, leaves, spread, is_urgent = ARGV[7], ARGV[8] == '1', ARGV[9] == '1', ARGV[10] == '1'
local number, wanted = tonumber(ARGV[11]), tonumber(ARGV[12])

local t = redis.call('TIME')
local now = t[1] * SECOND + t[2]

local fields = {'born', 'seq', 'tokens', 'last', 'urgent', 'run', 'spread', 'opens', 'limit',
  'margin', 'raise', 'owed', 'raised', 'learned', 'good', 'level', 'base', 'failed', 'step', 'turn', 'pause', 'blind',
  'minute', 'fullest', 'before'}
local h = {}
for i, v in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do
  h[fields[i]] = tonumber(v or 0)
end
if h.limit > 0 then limit = h.limit end
spacing = math.min(spacing, math.floor(SECOND / 4 / limit))
if h.good == 0 or h.good >= limit then h.good, h.level = limit, limit end
h.level = math.min(h.level, limit)
h.margin = math.max(h.margin, floor)

local horizon = SECOND + h.margin + NEAR -- how far ahead an urgent permit may be
-- No token is ever out for longer. The margin may be lost with the rest.
local longest = SECOND + MARGIN_MAX + NEAR + validity + SECOND + MARGIN_MAX

local function instant(i) return string.format('%.0f', i) end
local function count(key, from, to) -- scores between the two
  return redis.call('ZCOUNT', key, '(' .. instant(from), to and '(' .. instant(to) or '+inf')
end

-- The server's clock may have been set back: nothing is later than it can be.
if h.last > now + horizon then h.last = now end
if h.urgent > now + horizon then h.urgent = now end
h.spread = math.min(h.spread, now + SPREAD_URGENT)
h.opens = math.min(h.opens, now + longest)
h.raised, h.blind = math.min(h.raised, now), math.min(h.blind, now + horizon)
if h.raise > 0 and now - h.raised > ISOLATED then h.raise, h.learned = 0, 1 end
h.turn = math.min(h.turn, now + PAUSE_MAX)
local beyond = '(' .. instant(now + longest)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], beyond, '+inf')) do
  redis.call('ZADD', KEYS[1], now + longest, member)
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], beyond, '+inf')

-- Where state is missing, permits may have been used just now and others may
-- be out, unknown to this bucket: it stays shut until all of them are history.
if h.born == 0 then h.margin = math.max(h.margin, MARGIN_FIRST) end
if h.born == 0 and known_born == 0 then
  -- Nothing here and nobody remembers anything: most likely a first start.
  h.born, h.opens = now, now + SECOND + h.margin
elseif h.born == 0
  or h.born == known_born and h.seq < known_seq
  or redis.call('ZCARD', KEYS[1]) ~= h.tokens then
  h.born, h.seq, h.opens = now, math.max(h.seq, known_seq), now + longest
elseif known_born ~= 0 and h.born ~= known_born then
  -- The caller remembers a bucket that was lost before this one was made.
  h.opens = math.max(h.opens, h.born + longest)
end

-- Trials of a higher level that are over, and those that begin.
while h.good < limit and h.turn <= now do
  h.turn = math.max(h.turn, now - 60 * SECOND)
  local ended = h.level > h.good
  if ended then
    h.good, h.step = h.level, limit
    if h.good >= h.failed then h.failed = 0 end
    if h.good == limit and h.owed > 0 then
      h.margin, h.owed, h.learned = math.min(MARGIN_MAX, h.margin + h.owed), 0, 1
    end
  end
  if ended and h.good + 1 == h.failed then
    h.step, h.turn = 1, h.turn + h.pause
  else
    h.level = math.min(limit, h.good + h.step)
    if h.failed > h.good + 1 then h.level = math.min(h.level, h.failed - 1) end
    h.turn = h.turn + SECOND + h.margin + 2 * NEAR
  end
end

-- refused learns from the refusal of a permit.
local function refused(permit)
  local ends = redis.call('ZSCORE', KEYS[1], permit)
  if not ends then return end
  redis.call('ZADD', KEYS[4], ends, permit)
  ends = tonumber(ends)
  -- What was sent in the second before, and what of it was accepted.
  local from = ends - SECOND - (h.margin - h.raise)
  local before = count(KEYS[1], from, ends)
  local others = count(KEYS[4], from, ends)
  local new = ends - SECOND > h.blind
  if others == 0 then h.base = h.level end
  if h.level > h.good then
    -- The trial has failed. What it got through stays.
    h.good = math.max(h.good, math.min(h.level - 1, before - others))
    h.failed, h.level, h.step = h.level, h.good, 1
    h.pause = math.min(2 * h.pause, PAUSE_MAX)
    h.turn = now + h.pause
  elseif new and others == 0 and before >= h.level - 1 and now - h.raised > ISOLATED then
    -- We have used no more than what was left, so it may have been the way there.
    h.raise = h.margin > floor + MS and RAISE or FIRST_RAISE
    h.margin = math.min(MARGIN_MAX, h.margin + h.raise)
    h.raised = now
  elseif new or others >= (h.good == limit and 2 or 1) then
    -- Somebody else spends.
    local level = h.level
    if new then level = level - 1 end
    if others >= 1 then level = math.min(level, math.max(before - others, math.floor(h.base / 3))) end
    h.owed = math.max(h.owed, h.raise)
    h.margin, h.raise, h.raised = math.max(floor, h.margin - h.raise), 0, now
    h.failed, h.good = h.level, math.max(1, level)
    h.level, h.step, h.pause = h.good, 1, PAUSE_MIN
    h.turn = now + h.pause
  end
  h.blind = math.max(now, h.last, h.urgent) + NEAR / 2 -- permits are used a little late
end

local minute = math.floor(now / (60 * SECOND))
if minute ~= h.minute then
  h.before = minute == h.minute + 1 and h.fullest or 0
  h.minute, h.fullest = minute, 0
end
for i = 13, #ARGV, 2 do
  local permit, age = ARGV[i], tonumber(ARGV[i + 1])
  if age >= 0 then
    local ends = now - age + SECOND
    redis.call('ZADD', KEYS[1], ends, permit)
    h.fullest = math.max(h.fullest, count(KEYS[1], ends - SECOND, ends + 1))
    local guess = h.learned == 0 and h.raise == 0
    h.margin = math.max(floor, h.margin - (guess and FIRST_DECAY * (h.margin - floor) or DECAY))
  elseif age == -1 then
    redis.call('ZREM', KEYS[1], permit)
  else
    refused(permit)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', instant(now - HISTORY))
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', instant(now - HISTORY))
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', instant(now - LATE))
if leaves then redis.call('ZREM', KEYS[3], name) end
if spread then h.spread = math.max(h.spread, now + SPREAD_ASKED) end

-- free returns when a token is free after n others have been taken: surely, and
-- if all permits are used at their instants.
local function free(n)
  local rank = h.level - 1 - n % h.level
  local ends = tonumber(redis.call('ZREVRANGE', KEYS[1], rank, rank, 'WITHSCORES')[2] or 0)
  local surely = math.max(h.opens, ends + h.margin) + math.floor(n / h.level) * (SECOND + h.margin)
  return surely, ends > now + SECOND and surely - validity or surely
end

local ats, again = {}, 0
local function reserve(at)
  local id = name .. '-' .. instant(number + #ats)
  ats[#ats + 1] = at
  h.seq = h.seq + 1
  redis.call('ZADD', KEYS[1], at + validity + SECOND, id)
end

for i = 0, wanted - 1 do
  redis.call('ZREM', KEYS[1], name .. '-' .. instant(number + i)) -- the same call may come twice
end
if wanted > 0 and is_urgent then
  for _ = 1, wanted do
    local at = math.max(free(0), now, h.urgent + spacing)
    if h.run >= RUN and redis.call('ZCARD', KEYS[3]) > 0 then
      again = math.max(now, free(0) - NEAR) + NEAR / 10 -- after one of those in line
    elseif at - now > horizon then
      again = at - NEAR
    end
    if again > 0 then break end
    h.urgent, h.run, h.spread = at, h.run + 1, now + SPREAD_URGENT
    reserve(at)
  end
elseif wanted > 0 then
  local gap = spacing
  local others = h.good < limit -- so that a refusal is known before much more is on its way
  local near = others and NEAR / 2 or NEAR
  if others or now < h.spread then gap = math.max(gap, math.floor(0.9 * (SECOND + h.margin) / h.level)) end
  local before = redis.call('ZRANK', KEYS[3], name) or redis.call('ZCARD', KEYS[3])
  for _ = 1, wanted do
    local surely, likely = free(before)
    local turn = h.last + (before + 1) * gap
    if math.max(surely, turn) - now > near then
      if #ats == 0 then again = math.max(now + NEAR / 4, math.max(likely, turn) - near) end
      break
    end
    h.last, h.run = math.max(free(0), now, h.last + gap), 0
    reserve(h.last)
  end
  if again > 0 then
    redis.call('ZADD', KEYS[3], again, name)
  else
    redis.call('ZREM', KEYS[3], name)
  end
end

h.tokens = redis.call('ZCARD', KEYS[1])
local level = h.level
if h.good == limit then h.good, h.level = 0, 0 end
local set = {}
for _, field in ipairs(fields) do
  if field ~= 'limit' then
    set[#set + 1] = field
    set[#set + 1] = instant(h[field])
  end
end
redis.call('HSET', KEYS[2], unpack(set))
return {now, h.born, h.seq, limit, level, math.floor(h.margin), count(KEYS[1], now, now + SECOND + 1),
  math.max(h.fullest, h.before), count(KEYS[1], now - h.margin), math.floor(again), unpack(ats)}
