-- One bucket that all replicas lease their tokens from, moved in one step: what flowed in since the last time, what a replica
-- gives back, what it admitted on its own while Redis was away, and what it gets now.
--
-- KEYS  1 the bucket: "<tokens> <microseconds>", and what has run over lately, if that is something; 2 the replicas (with the bucket of all clients only): id by time last seen
-- ARGV  1 tokens a second  2 most tokens it holds  3 tokens of a bucket that is not there, -1: leave it so
--       4 tokens wanted  5 fewer than that are of no use  6 replicas  7 given back  8 admitted meanwhile  9 life of the bucket in ms
--       10 the least that is fair  11 came in while (8) was admitted  12 id of the replica  13 life of a replica in ms, 0: it leaves
-- Reply granted, whole tokens left, microseconds until there are more (-1: never), replicas (0: not asked)
--
-- The time is Redis' own: the clocks of the replicas do not matter. Everything is replicated by its effect, not by its text.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local rate, most, first = tonumber(ARGV[1]) / 1000000, tonumber(ARGV[2]), tonumber(ARGV[3])
local ask, need, replicas = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local back, charge, life = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

-- What is not a string fails here, before anything was changed. No more is read of it than a bucket is long.
local word = redis.call('GETRANGE', KEYS[1], 0, 95)
local flow = tonumber(ARGV[11])
local level
local over = 0
if word ~= '' then
  local tokens, at, ran = string.match(word, '^(%S+) (%d+) ?([%d.]*)$')
  level, at, over = tonumber(tokens or ''), tonumber(at or ''), tonumber(ran ~= '' and ran or '0')
  if not level or not at or not over or not (level >= -1e10 and level <= 1e10) then
    return redis.error_reply('ERR not a bucket of the gateway')
  end
  -- After Redis' clock was set back nothing flows in for once.
  local came = math.max(now - at, 0) * rate
  local ran = math.max(level + came - most, 0)
  level = math.min(most, level + came)
  -- It adds up for as long as the bucket stays full, up to a minute's worth.
  over = math.min(math.max(over - math.max(came - ran, 0), 0) + ran, rate * 60000000)
elseif first < 0 then
  return {0, 0, 0, 0}
else
  -- What has come in since the bucket before this one was lost, has run over likewise.
  level = math.min(most, first)
  over = math.min(first - level, rate * 60000000)
end

local count = 0
if KEYS[2] then
  local ms, member = math.floor(now / 1000), tonumber(ARGV[13])
  if member > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', ms - member))
    redis.call('ZREMRANGEBYSCORE', KEYS[2], string.format('%.0f', ms + member), '+inf')
    redis.call('ZADD', KEYS[2], string.format('%.0f', ms), ARGV[12])
    redis.call('PEXPIRE', KEYS[2], string.format('%.0f', 2 * member))
  else
    redis.call('ZREM', KEYS[2], ARGV[12])
  end
  count = redis.call('ZCARD', KEYS[2])
  replicas = math.max(count, 1)
end

level = math.min(most, level + back)
if charge > 0 then
  -- What ran over because it was admitted elsewhere had not run over otherwise: that is paid first.
  local paid = math.min(charge, flow, math.floor(over))
  charge, over = charge - paid, over - paid
  -- A replica that came back later than others has admitted its share while they leased that too. It may go into debt for this,
  -- but not for longer than a client cares to wait.
  level = math.max(level - charge, math.min(level, -rate * 1250000))
end
local whole = math.max(math.floor(level), 0)

-- A fair part of what is left. Of the bucket of all clients ten milliseconds' worth at least, lest the last tokens cost a round
-- trip each; of a client's not, since a replica that he seldom comes to would keep it from the others.
local fair = math.max(need, 1, math.floor(whole / replicas))
fair = math.max(fair, tonumber(ARGV[10]))
local grant = math.min(ask, whole, fair)
if grant < need then grant = 0 end
level = level - grant

local wait = 0
if grant < ask then
  local lacking = math.max(need - grant, 1) - level
  if lacking > 0 then
    wait = -1
    if rate > 0 then wait = math.min(math.ceil(lacking / rate), 1e15) end
  end
end
word = string.format('%.17g %.0f', level, now)
if over > 0.001 then word = word .. string.format(' %.3f', over) end
redis.call('SET', KEYS[1], word, 'PX', string.format('%.0f', life))
return {grant, whole - grant, wait, count}
