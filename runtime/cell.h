#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "millrace/runtime/actor_metrics.h"
#include "millrace/runtime/actor_options.h"
#include "millrace/runtime/delivery_ring.h"
#include "millrace/runtime/mailbox_gate.h"
#include "millrace/runtime/owner_thread.h"
#include "millrace/runtime/reply_cell.h"
#include "millrace/runtime/shutdown_report.h"
#include "millrace/runtime/timer_heap.h"

namespace millrace {

class Cell;
class LaneSelector;

// Is told, on the actor's thread, that an actor escalates. Thread-safe.
class CellListener {
 public:
  virtual ~CellListener() = default;
  virtual void OnEscalate(Cell& actor, const absl::Status& cause) = 0;
};

// What one step did, and what to do next.
struct StepOutcome {
  bool worked = false;    // Something was delivered: step again at once.
  bool finished = false;  // The actor has stopped: never step again.
  uint32_t messages = 0;
  MonotonicTime next_deadline = MonotonicTime::Infinite();  // Step again then, or when woken.
};

// One actor without its types: life, step, timers, supervision, metrics. Whatever drives actors
// (threads, a test's hand, a simulation) calls the functions under "Driver" from one thread at a
// time; the code below them is the same for all. Functions under "Anyone" are thread-safe; the rest
// is owned by the actor's thread.
class Cell : private ReplyCollector {
 public:
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;
  // The actor must never have been started, or have stopped.
  ~Cell() override;

  // Anyone.
  const std::string& name() const { return options_.name; }
  int niceness() const { return options_.niceness; }
  // The doorbell: OnDoorbell() will run after this call. Cannot be refused or lost; rings that the
  // actor has not yet answered are one.
  void Ring();
  // Refuses new messages; what was accepted is handled (kDrain) or answered Cancelled (kDiscard).
  void Close(CloseMode mode);
  // Why it will be closed, for those who are refused or discarded then; before Close().
  void SetCloseCause(absl::Status cause);
  bool closed() const { return gate_.closed(); }
  // Closed, and what is queued is not handled any more: long handlers end now.
  bool discarding() const { return gate_.discarding(); }
  // A frozen actor takes nothing out of its mailbox, until unfrozen or closed.
  void Freeze();
  void Unfreeze();
  ActorStatus Status() const;
  ActorReport Report() const;
  // The last deliveries, oldest first; may be called from a signal handler.
  void DumpDeliveries(int fd) const;
  // Until OnStart has returned; its status.
  absl::Status AwaitStarted();
  // True once the actor has stopped; waits at most `timeout` of real time for it.
  bool AwaitFinished(absl::Duration timeout);

  // Driver. The calling thread is the actor's from now on.
  void Attach() { owner_.Bind(); }
  StepOutcome Step();
  // Cheap: whether a step would probably find work.
  bool Ready() const {
    // Relaxed: a step looks properly.
    return gate_.depth() > 0 || bell_.load(std::memory_order_relaxed);
  }
  // PrepareWait(), then one more Step(), then Wait() if that found nothing, else CancelWait().
  void PrepareWait() { gate_.PrepareWait(); }
  void CancelWait() { gate_.CancelWait(); }
  // True from PrepareWait() until somebody wakes the actor: Wait() would sleep.
  bool Parked() const { return gate_.parked(); }
  void Wait(MonotonicTime deadline);
  // Makes a parked thread step again; for clocks that jump.
  void Wake() { gate_.Wake(); }
  void SetListener(CellListener* listener) { listener_ = listener; }  // Before the start.
  // Under simulation: who chooses the order across senders.
  virtual void SetLaneSelector(LaneSelector* selector) = 0;

 protected:
  Cell(const ActorOptions& options, MailboxGate<SystemSync>& gate,
       absl::Span<const std::string_view> message_names);

  // For actors, on their own thread.
  Clock& clock() const { return *options_.clock; }
  void SetTimer(TimerId id, absl::Duration after);
  void SetPeriodic(TimerId id, absl::Duration period, MissedTick missed = MissedTick::kSkip,
                   FirstTick first = FirstTick::kAfterPeriod);
  void CancelTimer(TimerId id) { timers_.Cancel(id); }
  // The actor cannot go on as it is: restarts or escalates once the running handler has returned.
  void Fail(absl::Status cause);
  // True once the mailbox is closed: long handlers look at it between slices.
  bool stop_requested() const { return gate_.closed(); }
  // In OnBatchEnd: messages that were admitted and not delivered yet. Whatever happened before a
  // load-acquire on this thread is in it.
  uint32_t queued_count() const { return gate_.depth(); }
  // Counts the lives of this actor, from 0.
  uint32_t incarnation() const { return incarnation_; }

  OwnerThread owner_;

  // For Actor<>: what it alone knows how to do.
  virtual absl::Status CallOnStart() = 0;
  virtual void CallOnStop(StopReason reason) = 0;
  virtual void CallOnTimer(TimerId id) = 0;
  virtual void CallOnDoorbell() = 0;
  virtual void CallOnClosing() = 0;
  virtual void CallOnBatchEnd() = 0;
  virtual bool CallReadyToStop() = 0;
  virtual size_t FillBatch(size_t max) = 0;  // From the mailbox; returns how many it took.
  virtual size_t BatchSize() const = 0;      // Taken out and not yet delivered.
  virtual void DeliverBatch() = 0;           // Until empty or failing(); may throw.
  virtual void DiscardBatch(const absl::Status& cause) = 0;

  // For Actor<>'s delivery.
  bool failing() const { return failure_.has_value(); }
  ActorMetrics::PerMessage& CountsOf(size_t message) { return counts_[message]; }
  void BeginDelivery(size_t message, int64_t enqueued_ns);
  void EndDelivery(Slot slot, uint64_t bytes);
  absl::Status RefusalOf(Admission admission) const;
  // A time for one message in 64, else 0: reading the clock costs more than sending.
  int64_t SampleTime() const {
    return (gate_.accepted() & 63) == 0 ? options_.clock->Now().nanoseconds() : 0;
  }
  int64_t outstanding_answers_ = 0;

 private:
  struct Failure {
    absl::Status cause;
    bool by_the_actor = false;  // It called Fail().
  };

  void Collect(ReplyCellBase* cell) override { orphans_.push_back(cell); }
  template <typename F>
  void Guard(std::string_view where, F&& function);
  void OnException(std::string_view where, std::string_view what);
  absl::Status CloseCause() const;
  absl::Status TryStart();
  StepOutcome FirstStep();
  StepOutcome RunningStep();
  bool NothingToDo();
  bool RunTimers(MonotonicTime now);
  bool RunDoorbell();
  bool NoticeClosing();
  uint32_t RunBatch();
  void EndBatch(uint32_t messages);
  void ApplyFailure();
  void Escalate(absl::Status cause);
  void BeginRestart(size_t recent_failures);
  bool TryFinish();
  void SetState(ActorState state);
  ActorState state() const { return state_.load(std::memory_order_relaxed); }

  const ActorOptions options_;
  MailboxGate<SystemSync>& gate_;
  const absl::Span<const std::string_view> message_names_;
  const absl::Status full_status_, memory_status_;
  CellListener* listener_ = nullptr;

  std::atomic<bool> bell_{false};
  std::atomic<bool> frozen_{false};
  std::atomic<int64_t> closed_at_ns_{0};
  std::atomic<int64_t> drain_ns_{0};
  std::atomic<ActorState> state_{ActorState::kNew};  // Changed by the actor's thread alone.
  ActorMetrics metrics_;
  std::vector<ActorMetrics::PerMessage> counts_;
  DeliveryRing ring_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  std::optional<absl::Status> start_status_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  absl::Status close_cause_ ABSL_GUARDED_BY(mutex_);

  // Touched only on the actor's thread.
  TimerHeap timers_;
  uint32_t incarnation_ = 0;
  uint64_t taken_ = 0;  // Elements ever taken out of the mailbox.
  uint32_t delivered_ = 0;
  SlotCounts released_;
  MonotonicTime batch_time_;
  bool closing_noticed_ = false;
  bool handlers_ran_ = false;  // In this step.
  std::optional<Failure> failure_;
  absl::Status failed_cause_;
  std::deque<MonotonicTime> failures_;
  MonotonicTime restart_at_;
  std::vector<ReplyCellBase*> orphans_;
};

}  // namespace millrace
