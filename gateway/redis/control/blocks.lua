-- Reads the blocks of users: KEYS[1] as in control/block.lua.
-- ARGV[1] the version that the node knows; '-': none.
-- Returns nothing if that is the present one; else the version, and of each block the user and how long it lasts, ms.
local version = redis.call('HMGET', KEYS[1], '')[1] or ''
if version == ARGV[1] then return {} end
if version == '' then return { '' } end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local all = redis.call('HGETALL', KEYS[1])
local list = { version }
for index = 1, #all, 2 do
  local left = all[index] ~= '' and (tonumber(all[index + 1]) or 0) - now or 0
  if left > 0 then
    list[#list + 1] = all[index]
    list[#list + 1] = left
  end
end
return list
