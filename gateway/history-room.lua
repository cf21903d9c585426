-- Begins every script about a room with history: which epoch it is in, and where.
-- KEYS[1] the room's position, a hash; KEYS[2] its messages, a stream in which offset n has the id n-0.
-- ARGV[1] run id of this Redis; ARGV[2] 1 if this Redis may have lost the end of what another run wrote;
-- ARGV[3] a name for a new epoch; ARGV[4] and ARGV[5] the position as far as the asking node knows it ('' and 0: not at all).
-- A new epoch begins where there is none, where writes of another run may be lost, and where the node knows a later offset.
local function integer(number)
  return string.format('%.0f', number)
end

local function open()
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'bytes', 'run')
  local epoch, offset, bytes, run = meta[1], tonumber(meta[2]), tonumber(meta[3]), meta[4]
  local lost = not epoch
    or (run ~= ARGV[1] and ARGV[2] == '1')
    or (epoch == ARGV[4] and offset < tonumber(ARGV[5]))
  if lost then
    redis.call('DEL', KEYS[2])
    epoch, offset, bytes = ARGV[3], 0, 0
  end
  if lost or run ~= ARGV[1] then
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', integer(offset), 'bytes', integer(bytes), 'run', ARGV[1])
  end
  return epoch, offset, bytes
end

