-- Blocks a user, or ends the block.
-- KEYS[1] a hash: the end of each block by user, ms of the clock of Redis; and as '' the version, new with each change. No user
-- is ''. The key lives as long as its longest block. A version begins with the one that began the key, and '/'.
-- ARGV[1] the user; ARGV[2] how long, ms, 0: not any more; ARGV[3] blocks at most.
-- Returns the versions before and after.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = redis.call('HMGET', KEYS[1], '', ARGV[1])
local before = known[1] or ''

if ARGV[2] ~= '0' and not known[2] and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
  local all = redis.call('HGETALL', KEYS[1])
  for index = 1, #all, 2 do
    if all[index] ~= '' and tonumber(all[index + 1]) <= now then redis.call('HDEL', KEYS[1], all[index]) end
  end
  if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
    return redis.error_reply('FULL ' .. ARGV[3] .. ' users are blocked already')
  end
end

local after = time[1] .. '.' .. time[2]
local begun = before == '' and after or string.match(before, '^([^/]*)/')
if begun then after = begun .. '/' .. after end
if after == before then after = after .. '+' end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  -- %.0f: Lua would write a large number as 1.7e+12.
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])))
end
redis.call('HSET', KEYS[1], '', after)
-- Without a block the version stays a minute more: nodes that ask meanwhile are told of the change.
local keep = math.max(tonumber(ARGV[2]), 60000)
if redis.call('PTTL', KEYS[1]) < keep then redis.call('PEXPIRE', KEYS[1], keep) end
return { before, after }
