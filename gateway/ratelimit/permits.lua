-- Permits for requests under way, which all replicas share: each holds some, for as long as it says so again and again.
--
-- KEYS  1 the permits: a hash of "<number> <milliseconds until it is over>" by replica
-- ARGV  1 id of the replica  2 how many it wants to hold  3 how many there are  4 life in ms  5 how many are in use there: so many it holds in any case
-- Reply how many it holds now, how many the others hold
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local want, most, life = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local others = 0
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local n, till = string.match(held[i + 1], '^(%d+) (%d+)$')
  n, till = tonumber(n or ''), tonumber(till or '')
  if not n or not till or till <= now or till > now + 10 * life then
    redis.call('HDEL', KEYS[1], held[i])
  elseif held[i] ~= ARGV[1] then
    others = others + n
  end
end
local grant = math.max(math.min(want, most - others), tonumber(ARGV[5]))
if grant > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', grant, now + life))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', 2 * life))
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return {grant, others}
