-- Keeps messages and publishes them, in their order: for each it is one step, so that stream and channel have one order.
-- KEYS behind the line, three for each message: the room's position, its messages, and the dedupe key; the position again
-- where the message has no key.
-- ARGV[4] ms to keep a dedupe key; ARGV[5] how many rules follow, four words each: most messages, most bytes, ms to keep the
-- messages, ms to keep the position. Then seven words for each message: the position as far as the node knows it (epoch,
-- offset), the number of its rule, the channel, what begins the envelope, the frame before and after the offset.
-- Returns for each message `<epoch> <offset>`; for a duplicate `=`, and that of the first one; or the error of that message:
-- it was not kept then, or begins with KEPT.
local current, stale = current_line()
if stale then return stale end
local firstMessage = 6 + 4 * ARGV[5]

local function problem(reply)
  return type(reply) == 'table' and reply.err or nil
end

-- Removes the oldest messages until one more fits; `written` counts it. The count of what is gone lags behind what left by
-- number or by age: each message says what was written before it. Returns what went wrong.
local function trim(position, messages, most, written, added, gone)
  local removals, fits = 0, written - gone <= most
  if fits then return nil end
  repeat
    local found = redis.pcall('XRANGE', messages, '-', '+', 'COUNT', 1)
    local wrong, oldest = problem(found), found[1]
    if wrong then return wrong end
    gone = oldest and (tonumber(oldest[2][4]) or gone) or written - added
    fits = not oldest or written - gone <= most
    wrong = not fits and problem(redis.pcall('XDEL', messages, oldest[1]))
    if wrong then return wrong end
    removals = removals + 1
    -- Where the rule was made smaller the rest goes with the next messages.
  until fits or removals == 200
  return problem(redis.pcall('HSET', position, 'gone', integer(gone)))
end

-- Where the stream is, if it is ahead of the position: offset and bytes written.
local function ahead(messages)
  local newest = redis.call('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
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
    local first = redis.call('GET', dedupe)
    if first then
      -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
      redis.call('PEXPIRE', dedupe, redis.call('PTTL', dedupe))
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
      redis.call('HSET', position, 'offset', number, 'written', integer(after), beginning(epoch, current, base, gone))
    else
      redis.call('HSET', position, 'offset', number, 'written', integer(after))
    end
    local wrong = problem(redis.pcall('PEXPIRE', position, ARGV[rule + 3]))
      -- What is left without a position has none.
      or begins == 'room' and problem(redis.pcall('DEL', messages))
      or hasKey and problem(redis.pcall('SET', dedupe, told, 'PX', ARGV[4]))
      or trim(position, messages, tonumber(ARGV[rule + 1]), after, #frame, gone)
      or problem(redis.pcall('XADD', messages, 'MAXLEN', '=', ARGV[rule], number .. '-0', 'f', frame, 'w', integer(written)))
    if wrong then
      redis.call('HSET', position, 'offset', integer(offset), 'written', integer(written))
      if hasKey then redis.pcall('PEXPIRE', dedupe, 0) end
      return nil, wrong
    end
    redis.call('PEXPIRE', messages, ARGV[rule + 2])
    wrong = problem(redis.pcall('PUBLISH', ARGV[at + 3], ARGV[at + 4] .. told .. '\n' .. frame))
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

local answers = {}
for index = 1, (#KEYS - 1) / 3 do
  local ok, answer = pcall(append, index)
  if not ok and type(answer) ~= 'table' then answer = { err = 'ERR ' .. tostring(answer) } end
  answers[index] = answer
end
return answers
