-- Keeps messages and publishes them, in their order: for each it is one step, so that stream and channel have one order.
-- KEYS behind the line, three for each message: the room's position, its messages, and the dedupe key; the position again
-- where the message has no key.
-- ARGV[4] ms to keep a dedupe key; ARGV[5] how many rules follow, four words each: most messages, most bytes, ms to keep the
-- messages, ms to keep the position. Then seven words for each message: the position as far as the node knows it (epoch,
-- offset), the number of its rule, the channel, what begins the envelope, the frame before and after the offset.
-- Returns for each message `<epoch> <offset>`; for a duplicate `=`, and that of the first one; or the error of that message:
-- it was not kept then, or begins with KEPT.
local current
local firstMessage = 6 + 4 * ARGV[5]

-- Returns what went wrong, if anything did.
local function fails(...)
  local _, wrong = try(...)
  return wrong
end

-- Removes the oldest messages until one more fits; `written` counts it. The count of what is gone lags behind what left by
-- number or by age: each message says what was written before it. Returns what went wrong.
local function trim(position, messages, most, written, added, gone)
  local removals, fits = 0, written - gone <= most
  if fits then return nil end
  repeat
    local found, wrong = try('XRANGE', messages, '-', '+', 'COUNT', 1)
    if wrong then return wrong end
    local oldest = found[1]
    gone = oldest and (tonumber(oldest[2][4]) or gone) or written - added
    fits = not oldest or written - gone <= most
    wrong = not fits and fails('XDEL', messages, oldest[1])
    if wrong then return wrong end
    removals = removals + 1
    -- Where the rule was made smaller the rest goes with the next messages.
  until fits or removals == 200
  return fails('HSET', position, 'gone', integer(gone))
end

-- Where the stream is, if it is ahead of the position: offset and bytes written.
local function ahead(messages)
  local newest = must('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
  if newest then
    return tonumber(string.match(newest[1], '^%d+')), (tonumber(newest[2][4]) or 0) + #newest[2][2]
  end
end

local function append(index)
  local key, at = 3 * index - 1, firstMessage + 7 * (index - 1)
  local position, messages, dedupe = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local rule = 2 + 4 * ARGV[at + 2]
  local hasKey = dedupe ~= position
  if hasKey then
    local first = must('GET', dedupe)
    if first then
      -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
      must('PEXPIRE', dedupe, must('PTTL', dedupe))
      return '=' .. (string.match(first, '^%S+ %d+$') or '')
    end
  end

  local begins, epoch, offset, base, written, gone =
    look(position, current, ARGV[3] .. '-' .. index, ARGV[at], ARGV[at + 1])

  -- A right may be missing for any command. So everything that can fail is done before the message is in the stream, and
  -- undone by commands that have just been carried out.
  local function keep()
    local number = integer(offset + 1)
    local frame = ARGV[at + 5] .. number .. ARGV[at + 6]
    local after, told = written + #frame, epoch .. ' ' .. number
    -- The first write: without memory left it fails, and nothing has happened.
    if begins then
      must('HSET', position, 'offset', number, 'written', integer(after), beginning(epoch, current, base, gone))
    else
      must('HSET', position, 'offset', number, 'written', integer(after))
    end
    local wrong = fails('PEXPIRE', position, ARGV[rule + 3])
      -- What is left without a position has none.
      or begins == 'room' and fails('DEL', messages)
      or hasKey and fails('SET', dedupe, told, 'PX', ARGV[4])
      or trim(position, messages, tonumber(ARGV[rule + 1]), after, #frame, gone)
      or fails('XADD', messages, 'MAXLEN', '=', ARGV[rule], number .. '-0', 'f', frame, 'w', integer(written))
    if wrong then
      must('HSET', position, 'offset', integer(offset), 'written', integer(written))
      if hasKey then try('PEXPIRE', dedupe, 0) end
      return nil, wrong
    end
    must('PEXPIRE', messages, ARGV[rule + 2])
    wrong = fails('PUBLISH', ARGV[at + 3], ARGV[at + 4] .. told .. '\n' .. frame)
    -- Nodes find it by looking at the room.
    if wrong then return { err = 'KEPT ' .. wrong } end
    return told
  end

  local told, wrong = keep()
  if wrong and string.find(wrong, 'equal or smaller', 1, true) then
    -- What is in the stream was kept: the room goes on behind it.
    begins = nil
    offset, written = ahead(messages)
    if offset then told, wrong = keep() end
  end
  return told or { err = wrong }
end

return answer(function()
  current = current_line()
  local answers = {}
  for index = 1, (#KEYS - 1) / 3 do
    answers[index] = answer(append, index)
  end
  return answers
end)
