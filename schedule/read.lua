-- Reads the state of a schedule and the time. Notes when the schedule was first seen, if it is to begin.
--
-- KEYS[1] schedule hash
-- ARGV[1] name of the field with the last tick (ms)
-- ARGV[2] name of the field with the tick that is being retried (JSON)
-- ARGV[3] begin  1: the schedule ticks from now on, if it never did
-- Returns {now (µs), last, trying, batch, outcome, missed, paused}; a missing value is empty.
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
