-- Begins, behind script.lua, every script about rooms with history: which epoch a room is in, and where.
-- KEYS[1] the line.
-- ARGV[1], ARGV[2] this Redis as the node knows it: its run id, and by which promotion it became the master ('' if it never
-- was a replica); ARGV[3] a name never used before.
local function integer(number)
  return string.format('%d', number)
end

-- The line of writes that this Redis is in, one for all rooms (history/line.lua). Where that is of another Redis than the
-- node knows, an error: what the node knows is out of date.
local function current_line()
  local known = call('HMGET', KEYS[1], 'line', 'run', 'promotion')
  if not known[1] then
    call('HSET', KEYS[1], 'line', ARGV[3], 'run', ARGV[1], 'promotion', ARGV[2])
    return ARGV[3]
  end
  if known[2] ~= ARGV[1] or (known[3] or '') ~= ARGV[2] then
    error({ err = 'STALE the node knows this Redis as another one' })
  end
  return known[1]
end

-- Where a room is; writes nothing. `position` is a hash; `name` that of the epoch that begins, if one does: where there is
-- none ('room'), where the room was last written to in another line than `current`, and where the asking node knows a
-- later offset (`known_epoch` and `known_offset`: '' and 0 if it knows none).
-- Returns what begins (nil, 'room' or 'epoch'), the epoch, the newest offset, the base (the offset behind which the epoch
-- began), the bytes ever written to the stream, and how many of these were written before the oldest message that is kept,
-- as far as that was looked at.
local function look(position, current, name, known_epoch, known_offset)
  command = 'HMGET'
  local meta = redis.call('HMGET', position, 'epoch', 'offset', 'base', 'written', 'gone', 'line')
  local epoch, offset, base = meta[1], tonumber(meta[2]), tonumber(meta[3])
  local written, gone = tonumber(meta[4]), tonumber(meta[5])
  if not (epoch and offset and base and written and gone) then
    return 'room', name, 0, 0, 0, 0
  end
  if meta[6] ~= current or (epoch == known_epoch and offset < tonumber(known_offset)) then
    -- What is left stays, and the epoch begins behind it.
    return 'epoch', name, offset, offset, written, gone
  end
  return nil, epoch, offset, base, written, gone
end

-- The fields of a position in which an epoch begins.
local function beginning(epoch, current, base, gone)
  return 'epoch', epoch, 'line', current, 'base', integer(base), 'gone', integer(gone)
end

-- Begins an epoch where `look` says so. `messages` is a stream in which offset n has the id n-0. Returns the epoch, the
-- newest offset, the base and the bytes ever written to the stream.
local function open(position, messages, current, name, known_epoch, known_offset)
  local begins, epoch, offset, base, written, gone = look(position, current, name, known_epoch, known_offset)
  if begins then
    -- Before anything is deleted: without memory left it fails, and nothing has happened. After another write it would not.
    call('HSET', position, 'offset', integer(offset), 'written', integer(written), beginning(epoch, current, base, gone))
    -- What is left without a position has none.
    if begins == 'room' then call('DEL', messages) end
  end
  return epoch, offset, base, written
end
