-- Keeps messages and publishes them, in their order: for each it is one step, so that stream and channel have one order.
-- KEYS behind the line, three for each message: the room's position, its messages, and the dedupe key; the position again
-- where the message has no key.
-- ARGV[4] ms to keep a dedupe key; ARGV[5] how many rules follow, four words each: most messages, most bytes, ms to keep the
-- messages, ms to keep the position. Then seven words for each message: the position as far as the node knows it (epoch,
-- offset), the number of its rule, the channel, what begins the envelope, the frame before and after the offset.
-- Returns for each message `<epoch> <offset>`; for a duplicate `=`, and that of the first one; or the error of that message.
local current = current_line()
local firstMessage = 6 + 4 * ARGV[5]

local function append(index)
  local key, at = 3 * index - 1, firstMessage + 7 * (index - 1)
  local position, messages, dedupe = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local rule = 2 + 4 * ARGV[at + 2]
  if dedupe ~= position then
    local first = redis.call('GET', dedupe)
    if first then
      -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
      redis.call('PEXPIRE', dedupe, redis.call('PTTL', dedupe))
      return '=' .. (string.match(first, '^%S+ %d+$') or '')
    end
  end

  local name = ARGV[3] .. '-' .. index
  local epoch, offset, _, written, gone = open(position, messages, current, name, ARGV[at], ARGV[at + 1])
  local number = integer(offset + 1)
  local frame = ARGV[at + 5] .. number .. ARGV[at + 6]
  -- First of all writes, where `open` needed none: without memory left it fails, and nothing has happened.
  redis.call('XADD', messages, 'MAXLEN', '=', ARGV[rule], number .. '-0', 'f', frame, 'w', integer(written))

  written = written + #frame
  local most, removals = tonumber(ARGV[rule + 1]), 0
  if written - gone > most then
    -- At most: what has left by number, or has expired, is not counted yet. Each message says what was written before it.
    repeat
      local oldest = redis.call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
      gone = tonumber(oldest[2][4]) or gone
      local fits = written - gone <= most or oldest[1] == number .. '-0'
      if not fits then redis.call('XDEL', messages, oldest[1]) end
      removals = removals + 1
      -- Where the rule was made smaller the rest goes with the next messages.
    until fits or removals == 200
    redis.call('HSET', position, 'gone', integer(gone))
  end

  redis.call('HSET', position, 'offset', number, 'written', integer(written))
  redis.call('PEXPIRE', position, ARGV[rule + 3])
  redis.call('PEXPIRE', messages, ARGV[rule + 2])
  local told = epoch .. ' ' .. number
  if dedupe ~= position then redis.call('SET', dedupe, told, 'PX', ARGV[4]) end
  redis.call('PUBLISH', ARGV[at + 3], ARGV[at + 4] .. told .. '\n' .. frame)
  return told
end

local answers = {}
for index = 1, (#KEYS - 1) / 3 do
  local ok, answer = pcall(append, index)
  if not ok and type(answer) ~= 'table' then answer = { err = 'ERR ' .. tostring(answer) } end
  answers[index] = answer
end
return answers
