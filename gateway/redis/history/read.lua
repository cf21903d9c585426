-- Reads kept messages, in ascending order.
-- KEYS[1] the line; KEYS[2] the position; KEYS[3] the messages.
-- ARGV[4], ARGV[5] the position that the node has seen; '' and 0: none.
-- ARGV[6], ARGV[7] read behind this position: `=` and an epoch, or `*` for the current one; '': read the newest messages.
-- ARGV[8] only lower offsets; ARGV[9] messages at most; ARGV[10] bytes at most, but one message in any case.
-- ARGV[11] lifetime of the position, ms; ARGV[12] the same before the first publish.
-- Returns {epoch, newest offset, base, oldest kept offset, {offset, frame, offset, frame, ...}}. For 0 messages at most, the
-- oldest offset is not read: newest + 1.
return answer(function()
  local epoch, top, base, written = open(KEYS[2], KEYS[3], current_line(KEYS[1]), ARGV[3], ARGV[4], ARGV[5])
  local ttl = top > 0 and ARGV[11] or ARGV[12]
  -- Never shorter than append.lua has set it.
  if call('PTTL', KEYS[2]) < tonumber(ttl) then call('PEXPIRE', KEYS[2], ttl) end

  local newest = ARGV[6] == ''
  local isCurrent = ARGV[6] == '=' .. epoch or ARGV[6] == '*'
  local low = newest and 1 or isCurrent and tonumber(ARGV[7]) + 1 or base + 1
  local high = math.min(tonumber(ARGV[8]) - 1, top)
  local limit, most = tonumber(ARGV[9]), tonumber(ARGV[10])
  local messages, count, bytes = {}, 0, 0
  if limit == 0 then
    return { epoch, integer(top), integer(base), integer(top + 1), messages }
  end

  local function offset_of(entry)
    return string.match(entry[1], '^%d+')
  end

  -- Bytes written to the stream before this entry.
  local function before(entry)
    return tonumber(entry[2][4]) or 0
  end

  -- The next entries, in reading order.
  local function entries(number)
    local range = newest and { 'XREVRANGE', high, low } or { 'XRANGE', low, high }
    return call(range[1], KEYS[3], integer(range[2]), integer(range[3]), 'COUNT', number)
  end

  -- How many entries to read next, behind `last`. `number` entries were read before, of `average` bytes. Redis copies what it
  -- reads twice, so hardly more than fits: as many as fit if they are as large as those before. The bytes written before the
  -- last of them show if they are larger; then a quarter, and slower growth from there on.
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
    -- Not all of them fit: a few at first, by the average size of all.
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
