-- Reads messages that are kept, in ascending order.
-- KEYS[2] the room's position; KEYS[3] its messages.
-- ARGV[4] and ARGV[5] the position as far as the node knows it ('' and 0: not at all); ARGV[6] and ARGV[7] the position
-- after which to read (the epoch behind a '='; '*': the present one; '': the newest messages are asked for); ARGV[8] only
-- offsets below it; ARGV[9] most messages; ARGV[10] most bytes, but for the first message; ARGV[11] ms to keep the position
-- from now on, ARGV[12] if nothing was published yet.
-- Returns {epoch, top, base, oldest offset kept, {offset, frame, offset, frame, ...}}; where no messages are asked for, the
-- oldest is not looked for.
return answer(function()
  local epoch, top, base, written = open(KEYS[2], KEYS[3], current_line(), ARGV[3], ARGV[4], ARGV[5])
  local ttl = top > 0 and ARGV[11] or ARGV[12]
  -- Messages that are kept longer keep the position longer.
  if call('PTTL', KEYS[2]) < tonumber(ttl) then call('PEXPIRE', KEYS[2], ttl) end

  local newest = ARGV[6] == ''
  local known = ARGV[6] == '=' .. epoch or ARGV[6] == '*'
  local low = newest and 1 or known and tonumber(ARGV[7]) + 1 or base + 1
  local high = math.min(tonumber(ARGV[8]) - 1, top)
  local limit, most = tonumber(ARGV[9]), tonumber(ARGV[10])
  local messages, count, bytes = {}, 0, 0
  if limit == 0 then
    return { epoch, integer(top), integer(base), integer(top + 1), messages }
  end

  local function offset_of(entry)
    return string.match(entry[1], '^%d+')
  end

  -- Of an entry: the bytes written to the stream before it.
  local function before(entry)
    return tonumber(entry[2][4]) or 0
  end

  -- The next `number` entries, in the order in which they are read.
  local function entries(number)
    local range = newest and { 'XREVRANGE', high, low } or { 'XRANGE', low, high }
    return call(range[1], KEYS[3], integer(range[2]), integer(range[3]), 'COUNT', number)
  end

  -- How many entries to read next, behind the last one, of which `number` were read with an average of so many bytes: hardly
  -- more than fit, since all that is read is copied twice. As many as fit if they are as large as those before, and fewer where
  -- the bytes written before the last one of them say that they are larger. Where they once were, not so many more at once.
  local growth = 12
  local function number_that_fits(last, number, average)
    local left = most - bytes
    number = math.max(1, math.min(limit - count, high - low + 1, growth * number, 100, math.floor(left / average)))
    local from = newest and before(last) or before(last) + #last[2][2]
    while number > 4 do
      local far = newest and call('XRANGE', KEYS[3], integer(high - number + 1), integer(high), 'COUNT', 1)[1]
        or not newest and call('XREVRANGE', KEYS[3], integer(low + number - 1), integer(low), 'COUNT', 1)[1]
      if far and math.abs(before(far) - from) <= left then break end
      number, growth = math.floor(number / 4), 2
    end
    return number
  end

  local oldest = call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
  local full, number = not oldest, limit
  if oldest and written - before(oldest) > most then
    -- A few at first, as nothing is known of these messages but what all of them have on average.
    local average = (written - before(oldest)) / (top - offset_of(oldest) + 1)
    number = math.max(1, math.min(limit, 8, math.floor(most / average)))
  end
  while not full and low <= high do
    local found = entries(number)
    local bytesBefore = bytes
    for _, entry in ipairs(found) do
      local frame = entry[2][2]
      full = count > 0 and bytes + #frame > most
      if full then break end
      messages[#messages + 1] = offset_of(entry)
      messages[#messages + 1] = frame
      count, bytes = count + 1, bytes + #frame
      if newest then high = tonumber(offset_of(entry)) - 1 else low = tonumber(offset_of(entry)) + 1 end
    end
    full = full or count >= limit or #found == 0
    if not full and low <= high then
      number = number_that_fits(found[#found], #found, math.max(1, (bytes - bytesBefore) / #found))
    end
  end

  if newest then
    local ascending = {}
    for index = #messages - 1, 1, -2 do
      ascending[#ascending + 1] = messages[index]
      ascending[#ascending + 1] = messages[index + 1]
    end
    messages = ascending
  end
  return { epoch, integer(top), integer(base), oldest and offset_of(oldest) or integer(top + 1), messages }
end)
