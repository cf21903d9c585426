-- Begins every script about rooms with history: which epoch a room is in, and where.
-- KEYS[1] the line.
-- ARGV[1] run id of this Redis; ARGV[2] 1 if this Redis may have lost the end of what another run wrote;
-- ARGV[3] a name never used before.
local function integer(number)
  return string.format('%d', number)
end

-- The line of writes that this Redis is in, one for all rooms: it goes on through runs as long as none has lost anything.
local function current_line()
  local known = redis.call('HMGET', KEYS[1], 'run', 'line')
  local run, line = known[1], known[2]
  if line and run == ARGV[1] then return line end
  if not line or ARGV[2] == '1' then line = ARGV[3] end
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'line', line)
  return line
end

-- `position`, a hash, and `messages`, a stream in which offset n has the id n-0, are the room's keys; `name` is that of the
-- epoch that begins, if one does: where there is none, where the room was last written to in another line than `current`,
-- and where the asking node knows a later offset (`known_epoch` and `known_offset`: '' and 0 if it knows none).
-- Returns the epoch, the newest offset, the base (the offset behind which the epoch began), the bytes ever written to the
-- stream, and how many of these were written before the oldest message that is kept, as far as that was looked at.
local function open(position, messages, current, name, known_epoch, known_offset)
  local meta = redis.call('HMGET', position, 'epoch', 'offset', 'base', 'written', 'gone', 'line')
  local epoch, offset, base, line = meta[1], tonumber(meta[2]), tonumber(meta[3]), meta[6]
  if not epoch then
    -- Before anything is deleted: without memory left it fails, and nothing has happened. After another write it would not.
    redis.call('HSET', position, 'epoch', name, 'offset', 0, 'base', 0, 'written', 0, 'gone', 0, 'line', current)
    -- What is left without a position has none.
    redis.call('DEL', messages)
    return name, 0, 0, 0, 0
  end
  if line ~= current or (epoch == known_epoch and offset < tonumber(known_offset)) then
    -- What is left stays, and the epoch begins behind it.
    epoch, base = name, offset
    redis.call('HSET', position, 'epoch', epoch, 'line', current, 'base', integer(base))
  end
  return epoch, offset, base, tonumber(meta[4]), tonumber(meta[5])
end
