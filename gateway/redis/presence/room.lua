-- Begins every script about a room with presence: its keys, and whether they add up.
-- KEYS[1] the room's members; KEYS[2] its connections by user, an anonymous connection standing for itself; KEYS[3] a note on
-- whether these were counted from all members:
--   '<members> <users>'        how many there were of each after the last write; something is wrong where there are not
--   'again'                    a write was broken off: they have to be counted anew, and somebody may not have been told
--   '<users before> <up to>'   they are being counted anew, from the first member to the last: how many users there were, or
--                              -1 where somebody may not have been told since; and up to where, as ZRANGEBYLEX takes it
-- A member is four lines: connection, life, user as JSON text ('' for anonymous), info as JSON text ('' for none).
local members, users, counted = KEYS[1], KEYS[2], KEYS[3]

local there = {}
for index, command in ipairs({ 'ZCARD', 'HLEN', 'GET' }) do
  there[index] = redis.pcall(command, KEYS[index])
  local refusal = type(there[index]) == 'table' and there[index].err
  if refusal and string.find(refusal, 'WRONGTYPE', 1, true) then
    return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is of another type than Roomcast gives it; delete it')
  elseif refusal then
    return there[index]
  end
end
local size, userCount, note = there[1], there[2], there[3] or ''
local usersBefore, upTo = string.match(note, '^(%-?%d+) ([-(].*)$')
usersBefore = tonumber(usersBefore)
local addsUp = note == size .. ' ' .. userCount or note == '' and size == 0 and userCount == 0
-- Behind every member: all are counted, and that somebody may not have been told is still to be told.
local theEnd = '(\255'
