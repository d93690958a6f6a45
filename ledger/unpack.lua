-- Unpacks a record.
--
-- ARGV[5] packed   the packed record as it was read
-- ARGV[6] ...      its fields: name, value, name ...
-- Returns 1, or 0 if the packed record has changed or the record exists.
if packed() ~= ARGV[5] or redis.call('EXISTS', SNAPSHOT) == 1 then
  return 0
end
for i = 6, #ARGV, 2 do
  set(ARGV[i], ARGV[i + 1])
end
redis.call('HDEL', PACKED, ROW or ID)
if not ROW then
  redis.call('PEXPIRE', SNAPSHOT, RETENTION)
end
redis.call('ZADD', UNPACKED, NOW, ID)
return 1
