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

-- Of the message under way: its keys, where the room was before it, and how far it has come: 'nothing' is written, the
-- position is 'claimed', the message is 'kept'.
local position, messages, dedupe, offset, written, stage

-- Removes the oldest messages until one more fits, whose end is at `after`. The count of what is gone lags behind what left
-- by number or by age: each message says what was written before it.
local function trim(most, after, gone)
  local removals, fits = 0, false
  repeat
    local oldest = call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
    gone = oldest and (tonumber(oldest[2][4]) or gone) or written
    fits = not oldest or after - gone <= most
    if not fits then call('XDEL', messages, oldest[1]) end
    removals = removals + 1
    -- Where the rule was made smaller the rest goes with the next messages.
  until fits or removals == 200
  call('HSET', position, 'gone', integer(gone))
end

-- One message. Commands are called without a function between: this is the dearest thing that is asked of Redis.
local function append(index)
  local key, at = 3 * index - 1, firstMessage + 7 * (index - 1)
  local rule = 2 + 4 * ARGV[at + 2]
  position, messages, dedupe, stage = KEYS[key], KEYS[key + 1], KEYS[key + 2], 'nothing'
  if dedupe ~= position then
    local first = call('GET', dedupe)
    if first then
      -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
      call('PEXPIRE', dedupe, call('PTTL', dedupe))
      return '=' .. (string.match(first, '^%S+ %d+$') or '')
    end
  end

  local begins, epoch, base, gone
  begins, epoch, offset, base, written, gone =
    look(position, current, ARGV[3] .. '-' .. index, ARGV[at], ARGV[at + 1])
  local number = integer(offset + 1)
  local frame = ARGV[at + 5] .. number .. ARGV[at + 6]
  local after, told = written + #frame, epoch .. ' ' .. number

  -- The first write: without memory left it fails, and nothing has happened.
  command = 'HSET'
  if begins then
    redis.call('HSET', position, 'offset', number, 'written', integer(after), beginning(epoch, current, base, gone))
  else
    redis.call('HSET', position, 'offset', number, 'written', integer(after))
  end
  stage = 'claimed'
  command = 'PEXPIRE'
  redis.call('PEXPIRE', position, ARGV[rule + 3])
  -- What is left without a position has none.
  if begins == 'room' then call('DEL', messages) end
  if dedupe ~= position then call('SET', dedupe, told, 'PX', ARGV[4]) end
  local most = tonumber(ARGV[rule + 1])
  if after - gone > most then trim(most, after, gone) end
  command = 'XADD'
  redis.call('XADD', messages, 'MAXLEN', '=', ARGV[rule], number .. '-0', 'f', frame, 'w', integer(written))
  stage = 'kept'
  command = 'PEXPIRE'
  redis.call('PEXPIRE', messages, ARGV[rule + 2])
  command = 'PUBLISH'
  redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4] .. told .. '\n' .. frame)
  return told
end

-- The stream is ahead of the position: the room goes on behind what is kept. False if it is not.
local function catch_up()
  local newest = call('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
  local top = newest and tonumber(string.match(newest[1], '^%d+'))
  if not top or top <= offset then return false end
  call('HSET', position, 'offset', integer(top), 'written', integer((tonumber(newest[2][4]) or 0) + #newest[2][2]))
  return true
end

-- A right may be missing for any command. So everything that can fail is done before the message is in the stream, and put
-- back by commands that have just been carried out.
local function put_back()
  call('HSET', position, 'offset', integer(offset), 'written', integer(written))
  if dedupe ~= position then redis.pcall('PEXPIRE', dedupe, 0) end
end

local function attempt(index, again)
  local done, result = pcall(append, index)
  if done then return result end
  local wrong = reason(result)
  -- Nodes find what is kept by looking at the room.
  if stage == 'kept' then return { err = 'KEPT ' .. wrong } end
  if stage == 'claimed' then
    put_back()
    if not again and string.find(wrong, 'equal or smaller', 1, true) and catch_up() then return attempt(index, true) end
  end
  return { err = wrong }
end

return answer(function()
  current = current_line()
  local answers = {}
  for index = 1, (#KEYS - 1) / 3 do
    answers[index] = attempt(index, false)
  end
  return answers
end)
