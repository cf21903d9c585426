-- Keeps a message and publishes it: one step, so that the stream and the channel have one order.
-- KEYS[3] the dedupe key, if the message has one.
-- ARGV[6] the channel; ARGV[7] what begins the envelope; ARGV[8] and ARGV[9] the frame before and after the offset;
-- ARGV[10] most messages; ARGV[11] most bytes; ARGV[12] ms to keep the messages, ARGV[13] the position, ARGV[14] the key.
-- Returns {1, epoch, offset}, or for a duplicate {0, epoch and offset of the first one}.
if KEYS[3] then
  local first = redis.call('GET', KEYS[3])
  if first then
    -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
    redis.call('PEXPIRE', KEYS[3], redis.call('PTTL', KEYS[3]))
    local epoch, offset = string.match(first, '^(%S+) (%d+)$')
    return { 0, epoch or '', offset or '0' }
  end
end

local epoch, offset, bytes = open()
offset = offset + 1
local number = integer(offset)
local frame = ARGV[8] .. number .. ARGV[9]
-- First of all writes: without memory left it fails, and nothing has happened.
redis.call('XADD', KEYS[2], number .. '-0', 'f', frame)

local length = redis.call('XLEN', KEYS[2])
-- The messages before this one may have expired.
bytes = length == 1 and #frame or bytes + #frame
local size, most, removals = tonumber(ARGV[10]), tonumber(ARGV[11]), 0
-- Where the rule was made smaller the rest goes with the next messages.
while length > 1 and (length > size or bytes > most) and removals < 200 do
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], oldest[1])
  bytes = bytes - #oldest[2][2]
  length = length - 1
  removals = removals + 1
end

redis.call('HSET', KEYS[1], 'offset', number, 'bytes', integer(bytes))
redis.call('PEXPIRE', KEYS[1], ARGV[13])
redis.call('PEXPIRE', KEYS[2], ARGV[12])
if KEYS[3] then
  redis.call('SET', KEYS[3], epoch .. ' ' .. number, 'PX', ARGV[14])
end
redis.call('PUBLISH', ARGV[6], ARGV[7] .. epoch .. ' ' .. number .. '\n' .. frame)
return { 1, epoch, number }
