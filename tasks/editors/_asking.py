"""Asks a service for edits: many at once, again where that may help, and never past the budget."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import tenacity

from tasks.editing import OVER_BUDGET, Answer, Answers, Edit, Edited
from tasks.editors._faults import Again, Refused, Unusable, of_transport
from tasks.editors._keys import Secret
from tasks.editors._laying import Laid, is_image
from tasks.editors._pace import Pace
from tasks.editors._service import Call, Limits, Reply, Send, Service
from tasks.errors import InputError

LONGEST_PAUSE_S = 600.0
"""A service that asks for a longer one is left for the next run."""
BATCHES = 8
"""Edits given at once, as a multiple of the calls at once: few calls wait for a batch's last."""


class _OverBudget(Exception):
    """The next try could go past the budget."""


class _Stopped(Exception):
    """Nothing more is to be sent."""


@dataclass(kw_only=True)
class Asking:
    """An `Editor` that asks a service."""

    service: Service
    limits: Limits
    answers: Answers
    secret: Secret
    stamp: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.batch_size = self.limits.concurrency * BATCHES
        self._pace = Pace(self.limits.requests_per_minute)
        self._dearest_usd = 0.0

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Yield edits as they are answered, those answered before among them.

        Where the budget does not allow for another call, or a service keeps failing, `left` says
        so; money that calls at the same time did not need after all is the next run's. Raises
        InputError where no edit can be had: then, as when this is closed early, calls
        that are under way still end and are kept, and none is sent any more.
        """
        for edit in edits:
            self.service.check(edit)
        stop = threading.Event()
        with (
            self.service.opened() as send,
            ThreadPoolExecutor(self.limits.concurrency, f"{self.service.name}-call") as pool,
        ):
            futures = [pool.submit(self._one, edit, send, stop) for edit in edits]
            try:
                for future in as_completed(futures):
                    edited = future.result()
                    if edited is not None:
                        yield edited
            finally:
                stop.set()
                for future in futures:
                    future.cancel()

    def _one(self, edit: Edit, send: Send, stop: threading.Event) -> Edited | None:
        """One edit from start to end, in a thread; None where it was stopped."""
        started = time.monotonic()
        laid = Laid(shape=edit.image.shape, canvas=self.service.canvas(edit))
        answer = self.answers.find(edit.id)
        cost_usd = 0.0
        if answer is None or answer.status == "failed":
            call = self._call(edit, laid, stop)
            try:
                answer = self._ask(call, send)
            except _Stopped:
                return None
            except (_OverBudget, Again) as fault:
                return Edited(id=edit.id, image=None, left=str(fault), cost_usd=call.paid_usd)
            except OSError as error:
                stop.set()
                raise InputError(f"{self.service.name}: answers cannot be kept: {error}") from error
            except InputError:
                stop.set()
                raise
            cost_usd = answer.cost_usd
        return Edited(
            id=edit.id,
            image=laid.restored(answer.image) if answer.image else None,
            refusal=(answer.said or answer.status) if answer.status == "refused" else "",
            cost_usd=cost_usd,
            seconds=time.monotonic() - started,
        )

    def _call(self, edit: Edit, laid: Laid, stop: threading.Event) -> Call:
        return Call(
            edit=edit,
            png=laid.png(edit.image),
            canvas=laid.canvas,
            mask=None if edit.mask is None else laid.mask(edit.mask),
            answers=self.answers,
            stop=stop,
            ticket=self.answers.ticket(edit.id),
        )

    def _ask(self, call: Call, send: Send) -> Answer:
        """Ask until there is an answer, and keep how it ended; raises why there is none."""
        price_usd = self._price_usd(call.edit)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_another),
            wait=self._wait_s,
            stop=tenacity.stop_after_attempt(self.limits.max_tries),
            sleep=tenacity.sleep_using_event(call.stop),
            reraise=True,
        )
        try:
            reply = retrying(self._try, call, send, price_usd)
        except Refused as refused:
            cost_usd = call.paid_usd + (price_usd if refused.paid else 0.0)
            return self._kept(call, "refused", cost_usd, said=str(refused))
        except (Again, Unusable, _OverBudget, _Stopped) as fault:
            # With a ticket the call has not ended: the next run fetches its answer.
            if call.asked and not call.ticket:
                self._kept(call, "failed", call.paid_usd, said=str(fault))
            if isinstance(fault, Unusable):
                name, place = self.service.name, self.secret.place
                raise InputError(f"{name}: {fault} (the key is that of {place})") from None
            if isinstance(fault, Again):
                fault.args = (f"{self.service.name}, {call.tries} tries: {fault}",)
            raise
        cost_usd = price_usd if reply.cost_usd is None else reply.cost_usd
        self._dearest_usd = max(self._dearest_usd, cost_usd)
        return self._kept(call, "image", call.paid_usd + cost_usd, image=reply.image)

    def _kept(
        self, call: Call, status: str, cost_usd: float, image: bytes = b"", said: str = ""
    ) -> Answer:
        answer = Answer(
            id=call.edit.id,
            status=status,
            image=image,
            said=said,
            cost_usd=cost_usd,
            latency_s=time.monotonic() - call.started,
            calls=call.tries,
        )
        self.answers.keep(answer)
        return answer

    def _try(self, call: Call, send: Send, price_usd: float) -> Reply:
        """Ask once; raises one of the faults, and never what the SDK raised."""
        self._pace.wait(call.stop)
        if call.stop.is_set():
            raise _Stopped("stopped before another try")
        if not call.ticket:
            cost_usd = call.paid_usd + price_usd
            if not self.answers.ask(call.edit.id, cost_usd, self.limits.max_cost_usd):
                raise _OverBudget(OVER_BUDGET)
            call.asked = True
        call.tries += 1
        fault: Exception
        try:
            reply = send(call)
        except Exception as error:
            fault = self._fault(error)
        else:
            if is_image(reply.image):
                return reply
            fault = Again("what it sent is no image", paid=True)
        if isinstance(fault, Again):
            if fault.paid and call.asked and not call.ticket:
                call.paid_usd += price_usd
            if fault.wait_s <= LONGEST_PAUSE_S:
                self._pace.pause(fault.wait_s)
        # Raised here: above, the SDK's error, which holds the key, would hang on to it.
        raise fault

    def _fault(self, error: Exception) -> Exception:
        fault = (
            error if isinstance(error, Refused | Again | Unusable) else self.service.fault(error)
        )
        fault = fault or of_transport(error)
        if fault is None:
            fault = RuntimeError(f"{self.service.name}: {type(error).__name__}: {error}")
            fault = fault.with_traceback(error.__traceback__)
        fault.args = (self.secret.scrubbed(str(fault)),)
        fault.__cause__ = fault.__context__ = None
        return fault

    def _price_usd(self, edit: Edit) -> float:
        """Where a service counts tokens, the next edit may cost as much as the dearest so far."""
        return max(self.service.price_usd(edit), self._dearest_usd)

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.wait_s if isinstance(error, Again) else 0.0
        return max(asked_s, self._backoff_s(state))

    def _backoff_s(self, state: tenacity.RetryCallState) -> float:
        first_s = self.limits.backoff_s
        return tenacity.wait_exponential_jitter(initial=first_s, max=60, jitter=first_s)(state)


def _worth_another(error: BaseException) -> bool:
    return isinstance(error, Again) and error.wait_s <= LONGEST_PAUSE_S
