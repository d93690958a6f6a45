-- One call to the bucket of one API action: take in what the caller reports,
-- then perhaps reserve one permit for it.
--
-- All times and durations are whole microseconds; instants are on this
-- server's clock (TIME). A token is out from the reservation of its permit
-- until a second plus the margin after its use, which is when a request was
-- written. While the use is not reported the return is put where it would be
-- after the last instant for which there is time.
--
-- KEYS[1]  zset: permit id -> instant at which its token returns
-- KEYS[2]  hash:
--            born    instant at which this bucket was made; its identity
--            seq     permits reserved since then
--            tokens  members of KEYS[1] after the last call
--            last    instant of the latest permit
--            opens   no permit is for an instant before this one
--            denied  when a caller was last turned away
--            cut_at  when the effective limit was last cut, and
--            cut_to  what it was cut to
--
-- ARGV[1]  limit      permits in any second
-- ARGV[2]  keep       how long a token stays out after its use: 1 s + margin
-- ARGV[3]  validity   how long after its instant a permit may be in use
-- ARGV[4]  spacing    least time between two permits
-- ARGV[5]  horizon    how far ahead a permit may be reserved
-- ARGV[6]  born, and
-- ARGV[7]  seq, as the caller saw them last; 0: it has seen no bucket yet
-- ARGV[8]  1: the API has answered that the quota is spent
-- ARGV[9]  id of the permit to reserve; empty: none
-- ARGV[10], ARGV[11], ...  reports: permit id, time since its use; -1: it was
--                          not and will not be used
--
-- Returns {at, now, born, seq, effective limit, used, tokens out}: the instant
-- of the reserved permit (0: none), and how many were used in the last second.

local SECOND = 1000000
local CUT = 0.75             -- what a cut leaves of the effective limit
local CUT_EVERY = SECOND / 4 -- one burst of rejections is one cut
local RECOVER = SECOND       -- for each of these the limit recovers by one

local limit, keep, validity = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local spacing, horizon = tonumber(ARGV[4]), tonumber(ARGV[5])
local known_born, known_seq = tonumber(ARGV[6]), tonumber(ARGV[7])
local throttled, id = ARGV[8] == '1', ARGV[9]
local longest = horizon + validity + keep -- no token is ever out for longer

local t = redis.call('TIME')
local now = t[1] * SECOND + t[2]

local h = redis.call('HMGET', KEYS[2],
  'born', 'seq', 'tokens', 'last', 'opens', 'denied', 'cut_at', 'cut_to')
for i = 1, 8 do h[i] = tonumber(h[i] or 0) end
local born, seq, tokens, last, opens, denied, cut_at, cut_to = unpack(h)

-- The server's clock may have been set back: nothing is later than it can be.
if last > now + horizon then last = now end
denied, cut_at = math.min(denied, now), math.min(cut_at, now)
opens = math.min(opens, now + longest)
local beyond = string.format('(%.0f', now + longest)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], beyond, '+inf')) do
  redis.call('ZADD', KEYS[1], now + longest, member)
end

-- Where state is missing, permits may have been used just now and others may
-- be out, unknown to this bucket: it stays shut until all of them are history.
if born == 0 and known_born == 0 then
  -- Nothing here and nobody remembers anything: most likely a first start.
  born, opens = now, now + keep
elseif born == 0
  or born == known_born and seq < known_seq
  or redis.call('ZCARD', KEYS[1]) ~= tokens then
  born, seq, opens = now, math.max(seq, known_seq), now + longest
elseif known_born ~= 0 and born ~= known_born then
  -- The caller remembers a bucket that was lost before this one was made.
  opens = math.max(opens, born + longest)
end

local served = false
for i = 10, #ARGV, 2 do
  local permit, age = ARGV[i], tonumber(ARGV[i + 1])
  if age < 0 then
    redis.call('ZREM', KEYS[1], permit)
  else
    served = true
    redis.call('ZADD', KEYS[1], now - age + keep, permit)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)

local effective = limit
if cut_at > 0 then
  effective = math.min(limit, cut_to + math.floor((now - cut_at) / RECOVER))
end
if throttled and (cut_at == 0 or now - cut_at >= CUT_EVERY) then
  effective = math.max(1, math.floor(effective * CUT))
  cut_at, cut_to = now, effective
end

local at = 0
if id ~= '' then
  redis.call('ZREM', KEYS[1], id) -- the same call may come twice
  at = math.max(now, last + spacing, opens)
  local out = redis.call('ZCARD', KEYS[1])
  if out >= effective then
    local e = redis.call('ZRANGE', KEYS[1], out - effective, out - effective, 'WITHSCORES')
    at = math.max(at, tonumber(e[2]))
  end
  if at - now > horizon then
    at, denied = 0, now
  elseif served and now - denied < SECOND then
    at = 0 -- others were turned away: let them go first
  else
    seq, last = seq + 1, at
    redis.call('ZADD', KEYS[1], at + validity + keep, id)
  end
end

tokens = redis.call('ZCARD', KEYS[1])
redis.call('HSET', KEYS[2],
  'born', born, 'seq', seq, 'tokens', tokens, 'last', last,
  'opens', opens, 'denied', denied, 'cut_at', cut_at, 'cut_to', cut_to)
local used = redis.call('ZCOUNT', KEYS[1],
  string.format('(%.0f', now + keep - SECOND), string.format('%.0f', now + keep))
return {at, now, born, seq, effective, used, tokens}
