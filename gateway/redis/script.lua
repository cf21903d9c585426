-- First part of most scripts: errors that name the command, or the key.

-- The last command, and its key. An error of Redis names neither.
local command, touched

local function call(name, key, ...)
  command, touched = name, key
  return redis.call(name, key, ...)
end

-- The text of an error, and the command; or the key that is of another type.
local function reason(raised)
  local text = type(raised) == 'table' and raised.err or 'ERR ' .. tostring(raised)
  if string.find(text, 'WRONGTYPE', 1, true) then
    return 'WRONGTYPE ' .. tostring(touched) .. ' is of another type than Roomcast gives it'
  end
  return text .. ' (' .. tostring(command) .. ')'
end

-- Runs `work`. Returns its result, or its error as an error reply.
local function answer(work)
  local done, result = pcall(work)
  return done and result or { err = reason(result) }
end
