-- Applies one batch of one fleet: states, counter and publication together, or nothing.
--
-- The caller has merged the updates into states already. This script only makes sure that each state in
-- Redis is still the one that the caller merged into; if one is not, nothing happens and the caller
-- gets the states that are there. Everything that could fail is done before the first write.
--
-- KEYS  1 counter · 2 epoch · 3 states (hash) · 4 changes (sorted set) · 5 positions (geo set)
--       6 cells (sorted set) · 7… tracks
-- ARGV  1 a fresh epoch, in case one is needed
--       2 the epoch that the caller knows, or empty
--       3 the counter as the caller knows it: it can not be lower
--       4 how many numbers the batch takes
--       5 channel · 6 message body, or empty
--       7 legacy channel, or empty
--       8 how many states · 9 how many positions · 10 how many track points · 11 points kept per track
--       12 how many assets are in another cell now · 13 how many cells get a message · 14 what it begins with
--       then per state:    asset, start of the expected text (empty: none expected), number within the
--                          batch from 0, text before the number, text after it
--            per position: lon, lat, asset
--            per point:    the point, for the key at the same place from KEYS 7 on
--            per asset in another cell: cell, asset
--            per cell:     channel, places of the states that concern it, from 1
--            per legacy message: the message
-- Returns {1, epoch, first number} | {0, epoch, counter, place of a state from 1, its text or nil, …}
--       | {2, epoch or nil, counter}: the counter is not the one that the caller knows
-- A fourth element, if there is one, says why the message of a cell could not be published.

local counter = redis.call('MGET', KEYS[1], KEYS[2])
local seq, epoch = tonumber(counter[1]), counter[2]
if epoch and #epoch ~= 16 then
  epoch = false
end
local known_epoch, known_seq, numbers = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if known_epoch ~= '' and (epoch ~= known_epoch or not seq or seq < known_seq) then
  return {2, epoch, seq or 0}
end

local states, positions, points = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local points_kept = tonumber(ARGV[11])
local relocated, cells = tonumber(ARGV[12]), tonumber(ARGV[13])
local at = 15

local assets = {}
for i = 1, states do
  assets[i] = ARGV[at + (i - 1) * 5]
end
local present = redis.call('HMGET', KEYS[3], unpack(assets))
local conflict
for i = 1, states do
  local expected, text = ARGV[at + (i - 1) * 5 + 1], present[i]
  local same
  if text then
    same = expected ~= '' and string.sub(text, 1, #expected) == expected
  else
    same = expected == ''
  end
  if not same then
    conflict = conflict or {0, epoch, seq or 0}
    conflict[#conflict + 1] = i
    conflict[#conflict + 1] = text
  end
end
if conflict then
  return conflict
end

if not epoch or not seq or seq < known_seq then
  -- The counter is gone or has gone back, so numbers would repeat: a new life begins, above all of them.
  local top = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
  seq = math.max(seq or 0, known_seq, tonumber(top[2] or 0))
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
end

local first = seq + 1
local texts, changes = {}, {}
for i = 1, states do
  local number = string.format('%d', first + ARGV[at + 2])
  texts[2 * i - 1] = assets[i]
  texts[2 * i] = ARGV[at + 3] .. number .. ARGV[at + 4]
  changes[2 * i - 1] = number
  changes[2 * i] = assets[i]
  at = at + 5
end
redis.call('HSET', KEYS[3], unpack(texts))
redis.call('ZADD', KEYS[4], unpack(changes))
redis.call('SET', KEYS[1], string.format('%d', seq + numbers))
if positions > 0 then
  redis.call('GEOADD', KEYS[5], unpack(ARGV, at, at + positions * 3 - 1))
  at = at + positions * 3
end
for i = 1, points do
  -- Cut only now and then: most appends are then one command.
  if redis.call('RPUSH', KEYS[6 + i], ARGV[at]) >= points_kept * 2 then
    redis.call('LTRIM', KEYS[6 + i], -points_kept, -1)
  end
  at = at + 1
end
if relocated > 0 then
  redis.call('ZADD', KEYS[6], unpack(ARGV, at, at + relocated * 2 - 1))
  at = at + relocated * 2
end
local at_cells, refusal = at, nil
at = at + cells * 2
if ARGV[6] ~= '' then
  redis.call('PUBLISH', ARGV[5], 'F1 ' .. epoch .. ' ' .. string.format('%d', first) .. ' ' .. ARGV[6])
end
if ARGV[7] ~= '' then
  for i = at, #ARGV do
    redis.call('PUBLISH', ARGV[7], ARGV[i])
  end
end
-- Last, and without failing: a user may lack the right to these channels.
local function publish(channel, parts)
  local published = redis.pcall('PUBLISH', channel, table.concat(parts))
  if type(published) == 'table' and published.err then
    refusal = published.err
  end
end
for i = 1, cells do
  -- States may be much larger than the updates that changed them: a message ends before a mebibyte.
  local parts, bytes = {ARGV[14]}, 0
  for place in string.gmatch(ARGV[at_cells + 1], '%d+') do
    local asset, text = texts[2 * place - 1], texts[2 * place]
    if bytes > 0 and bytes + #asset + #text > 1000000 then
      publish(ARGV[at_cells], parts)
      parts, bytes = {ARGV[14]}, 0
    end
    parts[#parts + 1] = #asset .. ':' .. asset .. #text .. ':'
    parts[#parts + 1] = text
    bytes = bytes + #asset + #text
  end
  publish(ARGV[at_cells], parts)
  at_cells = at_cells + 2
end
return {1, epoch, first, refusal}
