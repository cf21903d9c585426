-- Begins every script: commands whose errors can be told to an operator.

-- Carries out a command. Returns its answer; or nil, and what is wrong with the name of the command, which Redis leaves out
-- where a right is missing.
local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) == 'table' and answer.err then
    return nil, answer.err .. ' (' .. command .. ')'
  end
  return answer
end

-- `try` for what cannot go on without: raises the error.
local function must(command, ...)
  local answer, wrong = try(command, ...)
  if wrong then error({ err = wrong }) end
  return answer
end

-- What `work` returns, or the error that it raised, as an answer of the script.
local function answer(work, ...)
  local done, result = pcall(work, ...)
  if done or type(result) == 'table' then return result end
  return { err = 'ERR ' .. tostring(result) }
end
