-- Changes who of one node is in a room and tells the room's channel which users came and went: one step, so that each is
-- told once whoever writes, and a write of unknown outcome can be repeated.
-- KEYS[1] the room's members, KEYS[2] its connections by user (an anonymous connection stands for itself).
-- ARGV[1] the channel, '' to tell nobody; ARGV[2] the room; ARGV[3] Unix milliseconds, 13 digits.
-- ARGV[4], ARGV[5] a range of members as ZRANGEBYLEX takes it, '' for none: whoever is in it and not in the list of those
-- who entered is taken out; ARGV[6] only those of this life, '' for all; ARGV[7], ARGV[8] at most so many are looked at,
-- and about so many bytes taken out.
-- ARGV[9] the number of those who entered; they follow, then those who left.
-- A member is four lines: connection, life, user as JSON text ('' for anonymous), info as JSON text ('' for none).
-- Returns the last one looked at where the range was not done with, else ''; how many of the range were taken out; and how
-- many frames were told.
local members, users = KEYS[1], KEYS[2]
local touched, order, frames = {}, {}, 0

local function count(member, by)
  local connection, user, info = string.match(member, '^([^\n]*)\n[^\n]*\n([^\n]*)\n(.*)$')
  if not connection then
    return
  end
  local key = user ~= '' and user or connection
  local now = redis.call('HINCRBY', users, key, by)
  if now <= 0 then
    redis.call('HDEL', users, key)
  end
  if not touched[key] then
    touched[key] = { before = now - by }
    order[#order + 1] = key
  end
  touched[key].now = now
  if user == '' then
    touched[key].text = '{"connection":"' .. connection .. '"}'
  else
    touched[key].text = '{"user":' .. user .. (info ~= '' and ',"info":' .. info or '') .. '}'
  end
end

local function tell(type, came)
  local texts = {}
  for _, key in ipairs(order) do
    local user = touched[key]
    if (user.before > 0) ~= came and (user.now > 0) == came then
      texts[#texts + 1] = user.text
    end
  end
  if #texts > 0 then
    frames = frames + 1
    local frame = '{"type":"' .. type .. '","room":"' .. ARGV[2] .. '","members":[' .. table.concat(texts, ',') .. ']}'
    redis.call('PUBLISH', ARGV[1], '1p' .. ARGV[3] .. '\n' .. frame)
  end
end

local first, entered, kept = 10, tonumber(ARGV[9]), {}
for index = first, first + entered - 1 do
  kept[ARGV[index]] = true
  if redis.call('ZADD', members, 0, ARGV[index]) == 1 then
    count(ARGV[index], 1)
  end
end
for index = first + entered, #ARGV do
  if redis.call('ZREM', members, ARGV[index]) == 1 then
    count(ARGV[index], -1)
  end
end

local stoppedAt, takenOut = '', 0
if ARGV[4] ~= '' then
  local most, bytesLeft = tonumber(ARGV[7]), tonumber(ARGV[8])
  local found = redis.call('ZRANGEBYLEX', members, ARGV[4], ARGV[5], 'LIMIT', 0, most)
  for index, member in ipairs(found) do
    local life = string.match(member, '^[^\n]*\n([^\n]*)\n')
    if not kept[member] and (ARGV[6] == '' or life == ARGV[6]) then
      redis.call('ZREM', members, member)
      count(member, -1)
      takenOut = takenOut + 1
      bytesLeft = bytesLeft - #member
    end
    if index == most or bytesLeft <= 0 then
      stoppedAt = member
      break
    end
  end
end

if ARGV[1] ~= '' then
  tell('join', true)
  tell('leave', false)
end
return { stoppedAt, takenOut, frames }
