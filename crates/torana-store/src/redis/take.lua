-- The arithmetic of torana_core::store::quota, step by step alike. All numbers
-- are whole and below 2^53, which a number of Lua holds exactly; `/` is only
-- used where it leaves no rest.
--
-- KEYS: a hash, then a key for each quota, all with one hash tag.
-- ARGV: time in microseconds (or nothing: the server's), cost, up to, ticket;
--       then for each quota its algorithm, amount, period, tick, burst, slack.
-- Answers: granted; then for each quota left, reset, retry, wait.
local NEVER = 2251799813685248
local function rest(a, b) return math.fmod(a, b) end
local function div(a, b) return (a - rest(a, b)) / b end
local function up(a, b) return div(a + b - 1, b) end
local function less(a, b) if a > b then return a - b end return 0 end
local function text(number) return string.format('%.0f', number) end

local time = tonumber(ARGV[1])
if not time then
  local parts = redis.call('TIME')
  time = parts[1] * 1000000 + parts[2]
end
local cost, upto, ticket = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local stored = redis.call('HGETALL', KEYS[1])
local hash = {}
for i = 1, #stored, 2 do hash[stored[i]] = tonumber(stored[i + 1]) end

local function overlap(q) return q.period - math.min(less(q.now, q.at), q.period) end

local function settle(q)
  if q.kind == 'bucket' then
    if q.now < q.at then return end
    local elapsed = q.now - q.at
    if elapsed >= up(q.used, q.amount) then q.used = 0 else q.used = q.used - elapsed * q.amount end
    q.at = q.now
  elseif q.kind == 'fixed' or q.kind == 'sliding' then
    local start = q.now - rest(q.now, q.period)
    if start > q.at then
      if start - q.at == q.period then q.before = q.used else q.before = 0 end
      q.at, q.used = start, 0
    end
  elseif q.kind == 'log' then
    while true do
      local first = redis.call('LINDEX', q.key, 0)
      if not first then break end
      local at, charge = string.match(first, '(%d+):(%d+)')
      if tonumber(at) + q.period > q.now then break end
      q.used = less(q.used, tonumber(charge))
      redis.call('LPOP', q.key)
      q.changed = true
    end
  else
    redis.call('ZREMRANGEBYSCORE', q.key, '-inf', text(q.now))
    q.used = redis.call('ZCARD', q.key)
  end
end

local function left(q)
  if q.kind == 'bucket' then return div(less(q.burst * q.period, q.used), q.period) end
  if q.kind == 'sliding' then
    return div(less(q.amount * q.period, q.before * overlap(q) + q.used * q.period), q.period)
  end
  return less(q.amount, q.used)
end

local function room(q)
  if q.kind == 'bucket' then
    return math.min(div(less(q.burst * q.period + q.slack, q.used), q.period), q.burst)
  end
  if q.kind == 'places' then if q.used < q.amount then return NEVER end return 0 end
  return left(q)
end

local function charge(q, n)
  q.changed = true
  if q.kind == 'bucket' then
    q.used = q.used + n * q.period
  elseif q.kind == 'log' then
    q.used = q.used + n
    redis.call('RPUSH', q.key, text(q.now) .. ':' .. text(n))
  elseif q.kind == 'places' then
    q.used = q.used + 1
    redis.call('ZADD', q.key, text(q.now + q.period), ticket)
  else
    q.used = q.used + n
  end
end

local function retry(q)
  if q.kind == 'places' then if q.used < q.amount then return 0 end return NEVER end
  local most = q.amount
  if q.kind == 'bucket' then most = q.burst end
  if cost > most then return NEVER end
  if room(q) >= cost then return 0 end
  if q.kind == 'bucket' then
    return up(less(q.used + cost * q.period, q.burst * q.period + q.slack), q.amount)
  elseif q.kind == 'fixed' then
    return less(q.at + q.period, q.now)
  elseif q.kind == 'sliding' then
    if q.used + cost <= q.amount then
      return less(overlap(q), div((q.amount - q.used - cost) * q.period, math.max(q.before, 1)))
    end
    local free = math.min(div((q.amount - cost) * q.period, math.max(q.used, 1)), q.period)
    return overlap(q) + q.period - free
  end
  local free = less(q.amount, q.used)
  for _, entry in ipairs(redis.call('LRANGE', q.key, 0, -1)) do
    local at, n = string.match(entry, '(%d+):(%d+)')
    free = free + tonumber(n)
    if free >= cost then return less(tonumber(at) + q.period, q.now) end
  end
  return NEVER
end

local function reset(q)
  if q.kind == 'bucket' then return up(q.used, q.amount) end
  if q.kind == 'fixed' then return less(q.at + q.period, q.now) end
  if q.kind == 'sliding' then
    if q.used > 0 then return overlap(q) + q.period end
    if q.before > 0 then return overlap(q) end
    return 0
  end
  if q.kind == 'log' then
    local last = redis.call('LINDEX', q.key, -1)
    if last then return less(tonumber(string.match(last, '%d+')) + q.period, q.now) end
  end
  return 0
end

local quotas, least = {}, NEVER
for i = 1, #KEYS - 1 do
  local base = 4 + (i - 1) * 6
  local q = {
    key = KEYS[i + 1], kind = ARGV[base + 1], amount = tonumber(ARGV[base + 2]), period = tonumber(ARGV[base + 3]),
    tick = tonumber(ARGV[base + 4]), burst = tonumber(ARGV[base + 5]), slack = tonumber(ARGV[base + 6]),
    at = hash['a' .. i] or 0, used = hash['u' .. i] or 0, before = hash['b' .. i] or 0,
  }
  q.now = div(time, q.tick)
  settle(q)
  least = math.min(least, room(q))
  quotas[i] = q
end

local granted = 0
if least >= cost then granted = math.min(least, upto) end
local answer, lasts = { granted }, 0
for i, q in ipairs(quotas) do
  if granted > 0 then charge(q, granted) end
  if q.changed and q.kind ~= 'places' then
    redis.call('HSET', KEYS[1], 'a' .. i, text(q.at), 'u' .. i, text(q.used), 'b' .. i, text(q.before))
  end
  local wait, again = 0, 0
  if q.kind == 'bucket' then wait = up(less(q.used, q.burst * q.period), q.amount) end
  if granted == 0 then again = retry(q) end
  if again ~= NEVER then again = again * q.tick end
  local until_empty = reset(q)
  answer[#answer + 1] = left(q)
  answer[#answer + 1] = until_empty * q.tick
  answer[#answer + 1] = again
  answer[#answer + 1] = wait * q.tick
  -- Longer than anything of it matters.
  local keep = math.ceil((math.max(2 * q.period, until_empty) * q.tick) / 1000) + 1000
  if q.kind == 'log' or q.kind == 'places' then redis.call('PEXPIRE', q.key, text(keep)) end
  lasts = math.max(lasts, keep)
end
redis.call('PEXPIRE', KEYS[1], text(lasts))
return answer
