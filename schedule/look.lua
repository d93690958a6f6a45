-- Reads a schedule and the clock, and notes when it was first seen.
--
-- KEYS[1] schedule hash
-- ARGV[1] name of the field that holds the last tick (ms)
-- ARGV[2] name of the field that holds the tick that is tried (JSON)
-- ARGV[3] begin  1: from now on it ticks, if it never did
-- Returns {now (µs), last, tried, batch, outcome, missed, paused}; what is not there is
-- empty.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if ARGV[3] == '1' then
  redis.call('HSETNX', KEYS[1], ARGV[1], string.format('%d', math.floor(now / 1000)))
end
local fields = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2], 'batch', 'outcome', 'missed', 'paused')
local reply = {string.format('%d', now)}
for i = 1, 6 do
  reply[i + 1] = fields[i] or ''
end
return reply
