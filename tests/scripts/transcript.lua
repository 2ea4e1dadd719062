-- What one run of a script printed, and when: what the checks in checks_*.lua are given.
--
--     run.lines[i]    a line of stdout         run.status    the exit status, or why there is none
--     run.times[i]    when it arrived          run.seconds   when the script's main process ended
--     run.errors      all of stderr            run.left      processes that outlived it
--                                              run.files     files that it left behind
--
-- Times are seconds since the script was started. A check raises, by expect, where the run is not
-- as it must be. What a script sleeps is a lower bound for what we see; the upper bound is LATE
-- seconds more, since the other scripts run at the same time, and what run.lua has seen the machine
-- be busy with other things: `slack`. Where only an upper bound is not kept, what is raised is no
-- string but a Lateness: the machine may be at fault, and run.lua looks again.

local transcript = {slack = 0}
local Lateness = {}
Lateness.__index = Lateness
Lateness.__tostring = function(lateness) return lateness.message end
local Transcript = {}
Transcript.__index = Transcript

local EARLY, LATE = 0.1, 0.7

local function expect(cond, message, ...)
    if not cond then
        error(select("#", ...) > 0 and message:format(...) or message, 0)
    end
    return cond
end

-- What must have come about by then, if the machine was not too busy for it.
local function expect_soon(cond, message, ...)
    if not cond then
        error(setmetatable({message = message:format(...)}, Lateness), 0)
    end
end

-- An upper bound: `seconds` is not more than `most`, but for what a busy machine takes.
local function expect_by(seconds, most, message, ...)
    expect_soon(seconds < most + transcript.slack, message, ...)
end

function transcript.is_lateness(message)
    return getmetatable(message) == Lateness
end

function Transcript.new(run)
    return setmetatable(run, Transcript)
end

-- Seconds are what they should be: not earlier, and later only by what a busy machine takes. With
-- `since` they count from that line's time, which may have been seen late itself.
local function expect_time(seconds, expected, what, since)
    local early = since and EARLY + transcript.slack or EARLY
    seconds = seconds - (since or 0)
    local message = ("%s: at %.2f s, expected at %.1f s"):format(what, seconds, expected)
    expect(seconds > expected - early, "%s", message)
    expect_by(seconds, expected + LATE, "%s", message)
end

local function line_is(line, expected)
    if expected:sub(1, 1) == "^" then
        return line:find(expected) ~= nil
    end
    return line == expected
end

-- All lines, in order, but for the one numbered `but`; an expected one that begins with ^ is a
-- pattern.
function Transcript:prints(expected, but)
    local lines = table.move(self.lines, 1, #self.lines, 1, {})
    if but then
        table.remove(lines, but)
    end
    for i = 1, math.max(#expected, #lines) do
        expect(expected[i], "line %d: %q is more than expected", i, lines[i])
        expect(lines[i], "line %d: missing, expected %q", i, expected[i])
        expect(line_is(lines[i], expected[i]), "line %d: %q, expected %q", i, lines[i], expected[i])
    end
end

-- Those lines that match: a list of {line = its index, time =, and the captures}.
function Transcript:matching(pattern)
    local found = {}
    for i, line in ipairs(self.lines) do
        local match = {line:match(pattern)}
        if match[1] then
            match.line, match.time = i, self.times[i]
            found[#found + 1] = match
        end
    end
    return found
end

-- The number of lines that are exactly this.
function Transcript:count(text)
    local n = 0
    for _, line in ipairs(self.lines) do
        n = n + (line == text and 1 or 0)
    end
    return n
end

-- The only line that is, or matches, this: its index, and its time.
function Transcript:only(text)
    local index
    for i, line in ipairs(self.lines) do
        if line_is(line, text) then
            expect(not index, "%q is there more than once", text)
            index = i
        end
    end
    expect(index, "%q is missing", text)
    return index, self.times[index]
end

-- The number that the pattern captures is once each of first, ..., last; the matches by number.
function Transcript:each_once(pattern, first, last)
    local by_number = {}
    for _, match in ipairs(self:matching(pattern)) do
        local n = math.tointeger(match[1])
        expect(n and n >= first and n <= last, "%q: %s is out of place", pattern, match[1])
        expect(not by_number[n], "%q: %d is there more than once", pattern, n)
        by_number[n] = match
    end
    for n = first, last do
        expect(by_number[n], "%q: %d is missing", pattern, n)
    end
    return by_number
end

-- The line arrived when it should.
function Transcript:at(text, seconds)
    local _, time = self:only(text)
    expect_time(time, seconds, text)
end

-- The script's main process ended when it should.
function Transcript:ends_at(seconds)
    expect_time(self.seconds, seconds, "the end")
end

function Transcript:__tostring()
    local text = {}
    for i, line in ipairs(self.lines) do
        text[i] = ("%7.3f  %s"):format(self.times[i], line)
    end
    text[#text + 1] = ("%7.3f  end, status %s"):format(self.seconds, self.status)
    if self.errors ~= "" then
        text[#text + 1] = "stderr:\n" .. self.errors
    end
    return table.concat(text, "\n")
end

transcript.Transcript, transcript.expect, transcript.expect_time = Transcript, expect, expect_time
transcript.expect_by, transcript.expect_soon = expect_by, expect_soon
return transcript
