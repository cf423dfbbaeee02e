# A batch worker that can be told to leave: it counts records, and saves how far it is when it has notice.
# $DATA is a directory that outlives the task; the worker's part of it is named by its number in the ask.
number=${POLDER_TASK#*.}; number=${number%%.*}
mine=$DATA/worker-$number
done=$(cat "$mine.checkpoint" 2>/dev/null || echo 0)
echo "$POLDER_TASK resumes after record $done" >>"$DATA/story"
while :; do
    if grep -q '"open"' "$POLDER_SANDBOX/notice.json" 2>/dev/null; then
        echo "$done" >"$mine.checkpoint.new" && mv "$mine.checkpoint.new" "$mine.checkpoint"
        echo "$POLDER_TASK saved its work at record $done" >>"$DATA/story"
        echo '{"done":true}' >"$POLDER_SANDBOX/answer.new" && mv "$POLDER_SANDBOX/answer.new" "$POLDER_SANDBOX/answer.json"
        while :; do sleep 1; done
    fi
    done=$((done + 1))
    echo "$done" >>"$mine.records"
    sleep 0.05
done
