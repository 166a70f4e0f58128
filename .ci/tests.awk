# Reads CTest's log of test programs run whole (Testing/Temporary/LastTest.log) and tells of their cases: every one that failed,
# crashed or was skipped by its name, and how many there were of each kind.

function heard(mark, text) { return index(text, mark running) > 0 }
function suite_of(name) { return substr(name, 1, index(name, ".") - 1) }

/^[0-9]+\/[0-9]+ Testing: / {
    program = $3
    running = ""
    planned = seen = 0
}
/\[==========\] Running [0-9]+ test/ {
    sub(/.*\[==========\] Running /, "")
    planned = $1
}
{
    if (running != "") {
        if (/: (Thread|Address|Leak)Sanitizer: |: runtime error: / && reported != running) {
            reported = running
            print "reported by a sanitizer: " running
        }
        ending = 1
        if (heard("[       OK ] ", $0)) passed++
        else if (heard("[  SKIPPED ] ", $0)) {
            skipped++
            suite = suite_of(running)
            if (!(suite in names)) suites[++suite_count] = suite
            names[suite] = names[suite] " " substr(running, length(suite) + 2)
        } else if (heard("[  FAILED  ] ", $0)) {
            failed++
            print "failed   " running
        } else ending = 0
        if (ending) running = ""
    }
    at = index($0, "[ RUN      ] ")
    if (at) {
        running = substr($0, at + 13)
        seen++
    }
}
/^<end of output>/ {
    if (running != "") {
        crashed++
        print "crashed  " running (planned > seen ? " (and " planned - seen " of " program " never began)" : "")
        running = ""
    } else if (planned > seen) print "ended    " program ": " planned - seen " cases never began"
    lost += planned - seen
}
END {
    for (i = 1; i <= suite_count; i++) print "skipped  " suites[i] ":" names[suites[i]]
    printf "%d cases: %d passed, %d skipped, %d failed, %d crashed, %d never began\n",
        passed + skipped + failed + crashed + lost, passed, skipped, failed, crashed, lost
}
