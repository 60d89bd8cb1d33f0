# nbgrader in people's notebook servers: the exchange is the LMS, not a shared folder.
from lms.outposts.notebook import instructor, listing, student
from lms.outposts.notebook.exchange import Exchange
from lms.outposts.notebook.place import find_place

c = get_config()

c.ExchangeFactory.exchange = Exchange
c.ExchangeFactory.list = listing.ExchangeList
c.ExchangeFactory.fetch_assignment = student.ExchangeFetchAssignment
c.ExchangeFactory.submit = student.ExchangeSubmit
c.ExchangeFactory.fetch_feedback = student.ExchangeFetchFeedback
c.ExchangeFactory.release_assignment = instructor.ExchangeReleaseAssignment
c.ExchangeFactory.release_feedback = instructor.ExchangeReleaseFeedback
c.ExchangeFactory.collect = instructor.ExchangeCollect

# ~/courses/<offering>/<assignment>; fetching again adds what is missing and corrections.
c.Exchange.assignment_dir = str(find_place().courses_dir)
c.ExchangeFetchAssignment.replace_missing_files = True
