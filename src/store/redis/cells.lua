-- The states of a fleet's assets in some cells.
--
-- KEYS  1 states (hash) · 2 cells (sorted set: asset by cell)
-- ARGV  first and last cell of each range
-- Returns {asset, state, …}

local reply = {}
for range = 1, #ARGV, 2 do
  local assets = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[range], ARGV[range + 1])
  for from = 1, #assets, 1000 do
    local texts = redis.call('HMGET', KEYS[1], unpack(assets, from, math.min(from + 999, #assets)))
    for i = 1, #texts do
      reply[#reply + 1] = assets[from + i - 1]
      reply[#reply + 1] = texts[i]
    end
  end
end
return reply
