-- Second part, behind script.lua, of scripts about rooms with history: the epoch of a room, and its position.
-- ARGV[1] run id and ARGV[2] promotion of this Redis as the node has read them; ARGV[3] a name never used before.
local function integer(number)
  return string.format('%d', number)
end

-- `key`: of the line (history/line.lua). Returns the line. Raises STALE if it is of another Redis than the node has read: the
-- node has to settle it, or to reconnect.
local function current_line(key)
  local stored = call('HMGET', key, 'line', 'run', 'promotion')
  if not stored[1] then
    call('HSET', key, 'line', ARGV[3], 'run', ARGV[1], 'promotion', ARGV[2])
    return ARGV[3]
  end
  if stored[2] ~= ARGV[1] or (stored[3] or '') ~= ARGV[2] then
    error({ err = 'STALE the node has read the INFO of another Redis' })
  end
  return stored[1]
end

-- Reads the position of a room; writes nothing. `position`: its hash. `name`: of a new epoch. One begins if there is no
-- position ('room'), if the epoch began in another line than `current`, or if the node has seen a higher offset
-- (`seen_epoch` and `seen_offset`; '' and 0: none).
-- Returns what begins (nil, 'room' or 'epoch'); the epoch; the newest offset; the base, behind which the epoch began; the
-- bytes ever written to the stream; and of these, the bytes before the oldest kept message, or fewer (trim counts late).
local function locate(position, current, name, seen_epoch, seen_offset)
  command, touched = 'HMGET', position
  local meta = redis.call('HMGET', position, 'epoch', 'offset', 'base', 'written', 'gone', 'line')
  local epoch, offset, base = meta[1], tonumber(meta[2]), tonumber(meta[3])
  local written, gone = tonumber(meta[4]), tonumber(meta[5])
  if not (epoch and offset and base and written and gone) then
    return 'room', name, 0, 0, 0, 0
  end
  if meta[6] ~= current or (epoch == seen_epoch and offset < tonumber(seen_offset)) then
    -- Kept messages stay. The new epoch begins behind them.
    return 'epoch', name, offset, offset, written, gone
  end
  return nil, epoch, offset, base, written, gone
end

-- The fields that begin an epoch.
local function beginning(epoch, current, base, gone)
  return 'epoch', epoch, 'line', current, 'base', integer(base), 'gone', integer(gone)
end

-- Begins an epoch if `locate` says so. `messages`: the stream, in which offset n has the id n-0. Returns the epoch, the newest
-- offset, the base, and the bytes ever written to the stream.
local function open(position, messages, current, name, seen_epoch, seen_offset)
  local begins, epoch, offset, base, written, gone = locate(position, current, name, seen_epoch, seen_offset)
  if begins then
    -- The first write: without free memory it fails, and nothing is done yet. Behind another write Redis would not refuse it.
    call('HSET', position, 'offset', integer(offset), 'written', integer(written), beginning(epoch, current, base, gone))
    -- Messages without a position mean nothing.
    if begins == 'room' then call('DEL', messages) end
  end
  return epoch, offset, base, written
end
