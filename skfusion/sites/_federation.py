"""The sites of a run once they have agreed: who lives where, what each is to do, and how they are asked."""


class Federation:
    """Asks the sites of a run, one exchange after another.

    Parameters
    ----------
    exchange : Exchange
    plans : dict of str to Plan
        By site.
    peers : dict of str to list of int
        By site the peers that live there, in the order of its plan.
    number : int
        Number of the next exchange.
    skip : bool
        Whether to go on without sites that do not answer.
    """

    def __init__(self, exchange, plans, peers, number, skip):
        self.plans, self.peers, self.number = plans, peers, number
        self._exchange, self._skip = exchange, skip

    def ask(self, kind, sites, parts, read):
        """Ask some sites about their rows.

        Parameters
        ----------
        kind : str
        sites : iterable of str
        parts : callable
            ``parts(site)`` returns the content and the arrays of a message, beside the plan.
        read : callable
            ``read(site, answer)`` returns what an answer says, or raises MessageError.

        Returns
        -------
        dict
            By site what its answer says.
        """
        messages = {site: self._with_plan(site, *parts(site)) for site in sites}
        number, self.number = self.number, self.number + 1
        return self._exchange.ask(number, kind, messages, read, needed=not self._skip)

    def _with_plan(self, site, content, arrays):
        plan = self.plans[site]
        return {"plan": plan.content(), **content}, {**plan.arrays(), **arrays}
