-- First part of most scripts: errors that name the command.

-- The last command. An error of Redis does not name it.
local command

local function call(name, ...)
  command = name
  return redis.call(name, ...)
end

-- The text of an error, and the command.
local function reason(raised)
  return (type(raised) == 'table' and raised.err or 'ERR ' .. tostring(raised)) .. ' (' .. tostring(command) .. ')'
end

-- Runs `work`. Returns its result, or its error as an error reply.
local function answer(work)
  local done, result = pcall(work)
  return done and result or { err = reason(result) }
end
