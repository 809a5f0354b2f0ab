-- Who is alive.
--
-- KEYS  1 the replicas: id by time last seen
-- ARGV  1 id of the replica  2 life in ms; 0: it leaves
-- Reply how many there are
local time = redis.call('TIME')
local ms, life = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(ARGV[2])
if life <= 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms - life))
  redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('%.0f', ms + life), '+inf')
  redis.call('ZADD', KEYS[1], string.format('%.0f', ms), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', 2 * life))
end
return redis.call('ZCARD', KEYS[1])
