-- One bucket of tokens that all replicas lease from, moved in one step: what flowed in, what comes back of what was taken too much,
-- what was taken too little, and what a replica gets now.
--
-- KEYS  1 the bucket: "<tokens> <microseconds> <most>" and when it last had so little room, for twelve sizes of room
-- ARGV  1 tokens a second  2 most tokens it holds  3 tokens of a bucket that is not there  4 tokens wanted  5 fewer than that are of no use
--       6 replicas  7 tokens owed  8 life of the bucket in ms  9, 10 and so on in pairs: tokens that come back, and when they were taken, in Redis' microseconds
-- Reply granted, whole tokens left, microseconds until what is of use would be there (-1: never), Redis' time in microseconds
--
-- The time is Redis' own: the clocks of the replicas do not matter.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local rate, most, first = tonumber(ARGV[1]) / 1000000, tonumber(ARGV[2]), tonumber(ARGV[3])
local ask, need, replicas = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local owed, life = tonumber(ARGV[7]), tonumber(ARGV[8])

local sizes, finest = 12, 2048
local marks, level = {}, math.min(most, first)
for i = 1, sizes do marks[i] = 0 end

-- The first size is less than a 2048th of the bucket, the others each twice the one before.
local function size(room)
  local i, step = 1, most / finest
  while i < sizes and room >= step do
    i, step = i + 1, step * 2
  end
  return i
end
local function least(i, whole) return i > 1 and whole / finest * 2 ^ (i - 2) or 0 end

-- What is not a string fails here, before anything was changed. No more is read of it than a bucket is long.
local word = redis.call('GETRANGE', KEYS[1], 0, 511)
if word ~= '' then
  local tokens, at, was, rest = string.match(word, '^(%S+) (%d+) (%d+)([ %d]*)$')
  level, at, was = tonumber(tokens or ''), tonumber(at or ''), tonumber(was or '')
  if not level or not at or not was or not (level >= -1e13 and level <= 1e13 and was <= 1e13) then
    return redis.error_reply('ERR not a bucket of the gateway')
  end
  -- If it holds another number of tokens now, what was spent stays spent.
  level = level + most - was
  local i = 0
  for mark in string.gmatch(rest, '%d+') do
    i = i + 1
    if i <= sizes then
      local now = was == most and i or size(least(i, was))
      marks[now] = math.max(marks[now], tonumber(mark))
    end
  end
  -- After Redis' clock was set back nothing flows in for once.
  level = math.min(most, level + math.max(now - at, 0) * rate)
end

local function mark() marks[size(most - level)] = now end

-- What comes back must not be more than there was room for all the time since it was taken: it would have run over.
for i = 9, #ARGV, 2 do
  local back, since = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  for i = 1, sizes do
    if marks[i] > since then
      back = math.min(back, least(i, most))
      break
    end
  end
  level = math.min(most, level + back)
end
if owed > 0 then
  mark()
  level = math.max(level - owed, math.min(level, -most))
end

local whole = math.max(math.floor(level), 0)
local grant = math.min(ask, whole, math.max(need, 1, math.floor(whole / replicas)))
if grant < need then grant = 0 end
if grant > 0 then
  mark()
  level = level - grant
end

local wait = 0
if grant < need then
  wait = -1
  if rate > 0 then wait = math.min(math.ceil((need - level) / rate), 1e15) end
end
word = string.format('%.17g %.0f %.0f', level, now, most)
for i = 1, sizes do word = word .. string.format(' %.0f', marks[i]) end
redis.call('SET', KEYS[1], word, 'PX', string.format('%.0f', life))
return {grant, math.max(whole - grant, 0), wait, now}
