-- Begins every script about a room with history: which epoch it is in, and where.
-- KEYS[1] the room's position, a hash; KEYS[2] its messages, a stream in which offset n has the id n-0; KEYS[3] the line.
-- ARGV[1] run id of this Redis; ARGV[2] 1 if this Redis may have lost the end of what another run wrote;
-- ARGV[3] a name never used before; ARGV[4] and ARGV[5] the position as far as the asking node knows it ('' and 0: not at
-- all).
-- A new epoch begins where there is none, where the room was last written to in another line, and where the node knows a
-- later offset.
local function integer(number)
  return string.format('%.0f', number)
end

-- The line of writes that this Redis is in, one for all rooms: it goes on through runs as long as none has lost anything.
local function current_line()
  local known = redis.call('HMGET', KEYS[3], 'run', 'line')
  local run, line = known[1], known[2]
  if line and run == ARGV[1] then return line end
  if not line or ARGV[2] == '1' then line = ARGV[3] end
  redis.call('HSET', KEYS[3], 'run', ARGV[1], 'line', line)
  return line
end

-- Returns the epoch, the newest offset, the bytes kept, and the base: the offset behind which the epoch began.
local function open()
  local current = current_line()
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'bytes', 'line', 'base')
  local epoch, offset, bytes, line, base = meta[1], tonumber(meta[2]), tonumber(meta[3]), meta[4], tonumber(meta[5])
  if not epoch then
    -- Before anything is deleted: without memory left it fails, and nothing has happened. After another write it would not.
    redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'offset', '0', 'bytes', '0', 'line', current, 'base', '0')
    -- What is left without a position has none.
    redis.call('DEL', KEYS[2])
    return ARGV[3], 0, 0, 0
  end
  if line ~= current or (epoch == ARGV[4] and offset < tonumber(ARGV[5])) then
    -- What is left stays, and the epoch begins behind it.
    epoch, base = ARGV[3], offset
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'line', current, 'base', integer(base))
  end
  return epoch, offset, bytes, base
end
