-- Keeps messages and publishes them, in their order. Each message is one step: stream and channel have one order.
-- KEYS three for each message: position, messages, dedupe key (the position again: no dedupe key); then the lines.
-- ARGV[4] lifetime of a dedupe key, ms; ARGV[5] number of rules.
-- Five words for each rule: messages at most, bytes at most, lifetime of the messages and of the position, ms, and the number of
-- its line, in KEYS.
-- Seven words for each message: the position that the node has seen (epoch, offset); the number of its rule; the channel; the
-- header of the envelope; the frame before and behind the offset.
-- Returns for each message `<epoch> <offset>`; of a duplicate `=` and the position of the first; or an error. A message with an
-- error is not kept, unless the error begins with KEPT.
local firstMessage = 6 + 5 * ARGV[5]
local number = (#ARGV - firstMessage + 1) / 7
-- By their number.
local lines = {}

-- Of the current message: its keys; offset and bytes written before it; and its stage: 'nothing' written, position 'claimed',
-- message 'kept'.
local position, messages, dedupe, offset, written, stage

-- Removes the oldest messages until the current one fits; it ends at `after`. `gone` counts bytes late: it is read from the
-- oldest entry, which has the bytes written before it, and not updated when MAXLEN or the lifetime removes messages.
local function trim(most, after, gone)
  local removals, fits = 0, false
  repeat
    local oldest = call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
    gone = oldest and (tonumber(oldest[2][4]) or gone) or written
    fits = not oldest or after - gone <= most
    if not fits then call('XDEL', messages, oldest[1]) end
    removals = removals + 1
    -- At most 200 for each message: a rule that was made smaller is reached by the next ones.
  until fits or removals == 200
  call('HSET', position, 'gone', integer(gone))
end

-- Hot path: the most expensive work of Redis. redis.call directly, without `call`.
local function append(index)
  local key, at = 3 * index - 2, firstMessage + 7 * (index - 1)
  local rule = 1 + 5 * ARGV[at + 2]
  position, messages, dedupe, stage = KEYS[key], KEYS[key + 1], KEYS[key + 2], 'nothing'
  if dedupe ~= position then
    local first = call('GET', dedupe)
    if first then
      -- A write without effect: a WAIT behind it covers the first publish too, of whichever node.
      call('PEXPIRE', dedupe, call('PTTL', dedupe))
      return '=' .. (string.match(first, '^%S+ %d+$') or '')
    end
  end

  local line = lines[ARGV[rule + 4]]
  if not line then
    line = current_line(KEYS[tonumber(ARGV[rule + 4])])
    lines[ARGV[rule + 4]] = line
  end
  local begins, epoch, base, gone
  begins, epoch, offset, base, written, gone =
    locate(position, line, ARGV[3] .. '-' .. index, ARGV[at], ARGV[at + 1])
  local next = integer(offset + 1)
  local frame = ARGV[at + 5] .. next .. ARGV[at + 6]
  local after, placed = written + #frame, epoch .. ' ' .. next

  -- The first write: without free memory it fails, and nothing is done yet.
  command = 'HSET'
  if begins then
    redis.call('HSET', position, 'offset', next, 'written', integer(after), beginning(epoch, line, base, gone))
  else
    redis.call('HSET', position, 'offset', next, 'written', integer(after))
  end
  stage = 'claimed'
  command = 'PEXPIRE'
  redis.call('PEXPIRE', position, ARGV[rule + 3])
  -- Messages without a position mean nothing.
  if begins == 'room' then call('DEL', messages) end
  if dedupe ~= position then call('SET', dedupe, placed, 'PX', ARGV[4]) end
  local most = tonumber(ARGV[rule + 1])
  if after - gone > most then trim(most, after, gone) end
  command, touched = 'XADD', messages
  redis.call('XADD', messages, 'MAXLEN', '=', ARGV[rule], next .. '-0', 'f', frame, 'w', integer(written))
  stage = 'kept'
  command = 'PEXPIRE'
  redis.call('PEXPIRE', messages, ARGV[rule + 2])
  command = 'PUBLISH'
  redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4] .. placed .. '\n' .. frame)
  return placed
end

-- If the stream is ahead of the position, moves the position to its end. Returns false if it is not ahead.
local function catch_up()
  local newest = call('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
  local top = newest and tonumber(string.match(newest[1], '^%d+'))
  if not top or top <= offset then return false end
  call('HSET', position, 'offset', integer(top), 'written', integer((tonumber(newest[2][4]) or 0) + #newest[2][2]))
  return true
end

-- Redis may refuse any command (ACL). Everything that may fail comes before XADD, and is undone by commands that Redis has just
-- executed.
local function undo()
  call('HSET', position, 'offset', integer(offset), 'written', integer(written))
  if dedupe ~= position then redis.pcall('PEXPIRE', dedupe, 0) end
end

local function attempt(index, again)
  local done, result = pcall(append, index)
  if done then return result end
  local wrong = reason(result)
  -- Nodes find the message by their next probe of the room.
  if stage == 'kept' then return { err = 'KEPT ' .. wrong } end
  if stage == 'claimed' then
    undo()
    if not again and string.find(wrong, 'equal or smaller', 1, true) and catch_up() then return attempt(index, true) end
  end
  return { err = wrong }
end

return answer(function()
  -- If the only line cannot be used, the error is the answer to all of them.
  if #KEYS == 3 * number + 1 then lines[tostring(#KEYS)] = current_line(KEYS[#KEYS]) end
  local answers = {}
  for index = 1, number do
    answers[index] = attempt(index, false)
  end
  return answers
end)
