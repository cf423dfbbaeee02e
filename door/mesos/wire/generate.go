package wire

//go:generate protoc -I . --go_out=../../.. --go_opt=module=polder.dev/polder mesosv1/mesos.proto schedulerv1/scheduler.proto executorv1/executor.proto masterv1/master.proto quotav1/quota.proto maintenancev1/maintenance.proto allocatorv1/allocator.proto agentv1/agent.proto
