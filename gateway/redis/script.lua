-- Begins every script: errors that say what they are about.

-- The command under way. Redis does not say which one it refuses.
local command

local function call(name, ...)
  command = name
  return redis.call(name, ...)
end

-- What was raised, as text, with the command that it is about.
local function reason(raised)
  return (type(raised) == 'table' and raised.err or 'ERR ' .. tostring(raised)) .. ' (' .. tostring(command) .. ')'
end

-- What `work` returns, or the error that it raised, as an answer of the script.
local function answer(work)
  local done, result = pcall(work)
  return done and result or { err = reason(result) }
end
