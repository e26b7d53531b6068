-- The states of a fleet that changed after a number, in the order of their last change.
--
-- KEYS  1 counter · 2 epoch · 3 states (hash) · 4 changes (sorted set)
-- ARGV  1 the epoch that the number belongs to · 2 the number
-- Returns {epoch, counter, {asset, state}, …} or {epoch or nil, counter} with nothing after it if the counter has
-- begun anew since, which the caller sees by the epoch.

local counter = redis.call('MGET', KEYS[1], KEYS[2])
local reply = {counter[2], counter[1] or '0'}
if counter[2] ~= ARGV[1] then
  return reply
end
local assets = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[2], '+inf')
for from = 1, #assets, 1000 do
  local texts = redis.call('HMGET', KEYS[3], unpack(assets, from, math.min(from + 999, #assets)))
  for i = 1, #texts do
    reply[#reply + 1] = {assets[from + i - 1], texts[i]}
  end
end
return reply
