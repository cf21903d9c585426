-- A turn of a node that reads a stream of the operator's, or would like to.
-- KEYS[1] the stream; KEYS[2] the reader, a run of a node, for as long as the key lives; KEYS[3] the stream of parked entries.
-- ARGV[1] the group; ARGV[2] this run; ARGV[3] lifetime of the reader, ms, 0: gives its place up; ARGV[4] entries at most;
-- ARGV[5] where to go on among entries that were read and not acknowledged, '': all are done, so read new ones; ARGV[6] parked
-- entries that are kept; ARGV[7] reads no more once the entries have so many bytes; ARGV[8] how many entries are done; then
-- these; then the others that are parked, each with the reason.
-- Returns 0: another run is the reader, 1: this one is, 2: it is since now; the entries that nobody has acknowledged, -1:
-- Redis before 7.0 does not count them; the last entry that was read; where to go on; and entries.
local function group()
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local fields = {}
    for index = 1, #each, 2 do fields[each[index]] = each[index + 1] end
    if fields.name == ARGV[1] then return fields end
  end
end

if redis.call('EXISTS', KEYS[1]) == 0 or not group() then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
end

local done = tonumber(ARGV[8])
for index = 9, 8 + done do redis.call('XACK', KEYS[1], ARGV[1], ARGV[index]) end
for index = 9 + done, #ARGV, 2 do
  local id = ARGV[index]
  -- Parked first: what Redis refuses to park stays where it is. One that is acknowledged was parked by an earlier turn.
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1) == 1 then
    local found = redis.call('XRANGE', KEYS[1], id, id)[1]
    if found then
      -- Lua passes on some thousand values.
      local fields = #found[2] <= 2000 and found[2] or {}
      redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'roomcast:entry', id, 'roomcast:reason', ARGV[index + 1], unpack(fields))
    end
    redis.call('XACK', KEYS[1], ARGV[1], id)
  end
end

local reader = redis.call('GET', KEYS[2])
if reader and reader ~= ARGV[2] then return { 0, 0, '', '', {} } end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[2])
  return { 0, 0, '', '', {} }
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])

local from = reader and ARGV[5] or '0-0'
local entries, bytes = {}, 0

local function add(found)
  for _, entry in ipairs(found) do
    -- Redis before 7.0 hands out entries that were deleted as nothing, and forgets them when it is asked to.
    if entry then
      entries[#entries + 1] = entry
      for _, word in ipairs(entry[2]) do bytes = bytes + #word end
    end
  end
end

-- All nodes are one consumer. A reader that begins claims what the one before has left, and what other consumers have.
-- Returns false if there is nothing more to read, or to claim.
local isClaiming = from ~= ''
local function read(number)
  if isClaiming then
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], 'roomcast', '0', from, 'COUNT', number)
    from = claimed[1] == '0-0' and '' or claimed[1]
    add(claimed[2])
    return from ~= ''
  end
  local found = redis.call('XREADGROUP', 'GROUP', ARGV[1], 'roomcast', 'COUNT', number, 'STREAMS', KEYS[1], '>')
  if found then add(found[1][2]) end
  return found and #found[1][2] == number
end

-- A few at a time, since what was read cannot be given back.
local left, goesOn = tonumber(ARGV[4]), true
while goesOn and left > 0 and bytes < tonumber(ARGV[7]) do
  local number = math.min(left, 10)
  goesOn = read(number)
  left = left - number
end
local now = group()
local lag = now.lag and now.lag + now.pending or -1
return { reader and 1 or 2, lag, now['last-delivered-id'], from, entries }
